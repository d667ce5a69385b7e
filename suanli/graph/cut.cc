#include "suanli/graph/cut.h"

#include <algorithm>
#include <set>

#include "suanli/graph/op.h"

namespace suanli::graph {
namespace {

// -1 for a graph without blocks.
int last_block(const Graph& graph) {
  int last = -1;
  for (const Node& node : graph.nodes()) last = std::max(last, node.block);
  return last;
}

bool is_state(const Node& node) { return node.op->name == "param" || node.op->name == "state"; }

std::string label(const Graph& graph, NodeId id) {
  const Node& node = graph.node(id);
  return "%" + std::to_string(id) + " (" + std::string(node.op->name) + ", " +
         std::string(name_of(node.phase)) +
         (node.block == kWholeJob ? ", whole job)" : ", block " + std::to_string(node.block) + ")");
}

class CutFinder {
 public:
  explicit CutFinder(const Graph& graph)
      : graph_(graph), live_(graph.live()), users_(graph.users()) {
    points_.resize(std::max(0, last_block(graph)));
    for (std::size_t i = 0; i < points_.size(); ++i) points_[i].after_block = static_cast<int>(i);
  }

  std::vector<CutPoint> run() {
    for (NodeId id = 0; id < graph_.size(); ++id) {
      const Node& node = graph_.node(id);
      if (live_[id] && !is_source(node) && node.phase != Phase::update && node.block != kWholeJob)
        follow(id, node);
    }
    return std::move(points_);
  }

 private:
  // Enters the value `id` at every boundary between it and its readers of the same micro-batch.
  void follow(NodeId id, const Node& node) {
    const bool down = node.phase == Phase::backward;
    int reach = node.block;
    for (NodeId user : users_[id]) {
      const Node& reader = graph_.node(user);
      if (!live_[user] || reader.phase == Phase::update) continue;
      const int block = reader.block;
      if (block == kWholeJob) {
        forbid(0, static_cast<int>(points_.size()),
               label(graph_, id) + " is read in every micro-batch by " + label(graph_, user) +
                   ", which all stages compute");
      } else if (down ? block > node.block : block < node.block) {
        forbid(std::min(block, node.block), std::max(block, node.block),
               label(graph_, id) + " is read by " + label(graph_, user) +
                   ", against the direction of the pipeline");
      } else {
        reach = down ? std::min(reach, block) : std::max(reach, block);
      }
    }
    const int first = std::min(reach, node.block);
    const int end = std::max(reach, node.block);
    for (int block = first; block < end; ++block) {
      CutPoint& point = points_[block];
      (down ? point.backward : point.forward).push_back(id);
      (down ? point.backward_bytes : point.forward_bytes) += node.type.bytes();
    }
    if (node.op->cut != CutRule::crosses)
      forbid(first, end, label(graph_, id) + " crosses, and values of its op may not travel");
  }

  // Boundaries [first, end); the first reason stays.
  void forbid(int first, int end, const std::string& reason) {
    for (int block = first; block < end; ++block) {
      if (!points_[block].legal) continue;
      points_[block].legal = false;
      points_[block].reason = reason;
    }
  }

  const Graph& graph_;
  const std::vector<bool> live_;
  const std::vector<std::vector<NodeId>> users_;
  std::vector<CutPoint> points_;
};

Status check(const Cut& cut, const std::vector<CutPoint>& points) {
  int previous = -1;
  for (int block : cut.after_blocks) {
    const std::string place = "cut after block " + std::to_string(block);
    if (block < 0 || block >= static_cast<int>(points.size()))
      return fail(ErrorCode::graph,
                  "there is no boundary; the graph has " + std::to_string(points.size() + 1) +
                      " blocks, counted from 0",
                  place, "cut after a block before the last");
    if (block <= previous)
      return fail(ErrorCode::graph, "it stands after block " + std::to_string(previous), place,
                  "list cuts in ascending order, each once");
    if (!points[block].legal)
      return fail(ErrorCode::graph, points[block].reason, place, "cut at another boundary");
    previous = block;
  }
  return {};
}

// Fills the stages from nodes, edges and updates; sets keep lists ascending and unique.
class Splitter {
 public:
  Splitter(const Graph& graph, const Cut& cut) : graph_(graph), cuts_(cut.after_blocks) {
    drafts_.resize(cuts_.size() + 1);
  }

  void run() {
    const std::vector<bool> live = graph_.live();
    const std::vector<std::vector<NodeId>> users = graph_.users();
    for (NodeId id = 0; id < graph_.size(); ++id) {
      if (!live[id]) continue;
      place(id);
      for (NodeId user : users[id])
        if (live[user]) read(id, user);
    }
    for (const Output& output : graph_.outputs())
      if (is_source(graph_.node(output.node)))
        add_source(output.node, graph_.node(output.node).block);
    for (const Update& update : graph_.updates()) send_update(update);
  }

  std::vector<StageNodes> result(const std::vector<CutPoint>& points) const {
    std::vector<StageNodes> stages(drafts_.size());
    for (std::size_t s = 0; s < stages.size(); ++s) {
      StageNodes& stage = stages[s];
      const Draft& draft = drafts_[s];
      stage.first_block = s == 0 ? 0 : cuts_[s - 1] + 1;
      stage.last_block = s < cuts_.size() ? cuts_[s] : std::max(0, last_block(graph_));
      stage.nodes = draft.nodes;
      stage.shared = shared_;
      stage.sources.assign(draft.sources.begin(), draft.sources.end());
      for (NodeId id : stage.sources)
        if (graph_.node(id).op->name == "param") stage.params.push_back(id);
      stage.receive_step.assign(draft.receive_step.begin(), draft.receive_step.end());
      stage.send_step.assign(draft.send_step.begin(), draft.send_step.end());
      if (s > 0) {
        stage.receive_forward = points[cuts_[s - 1]].forward;
        stage.send_backward = points[cuts_[s - 1]].backward;
      }
      if (s < cuts_.size()) {
        stage.send_forward = points[cuts_[s]].forward;
        stage.receive_backward = points[cuts_[s]].backward;
      }
    }
    return stages;
  }

 private:
  struct Draft {
    std::vector<NodeId> nodes;
    std::set<NodeId> sources, receive_step, send_step;
  };

  int stage_of(int block) const {
    return static_cast<int>(std::lower_bound(cuts_.begin(), cuts_.end(), block) - cuts_.begin());
  }

  // The stages [first, end) that a node of this block belongs to.
  std::pair<int, int> range_of(int block) const {
    if (block == kWholeJob) return {0, static_cast<int>(drafts_.size())};
    return {stage_of(block), stage_of(block) + 1};
  }

  void add_source(NodeId id, int block) {
    const auto [first, end] = range_of(block);
    for (int s = first; s < end; ++s) drafts_[s].sources.insert(id);
  }

  void place(NodeId id) {
    const Node& node = graph_.node(id);
    if (is_source(node)) {
      if (is_state(node)) add_source(id, node.block);
    } else if (node.block == kWholeJob) {
      shared_.push_back(id);
    } else {
      drafts_[stage_of(node.block)].nodes.push_back(id);
    }
  }

  void read(NodeId id, NodeId user) {
    const Node& reader = graph_.node(user);
    if (is_source(graph_.node(id))) {
      add_source(id, reader.block);
    } else if (reader.phase == Phase::update) {
      const auto [first, end] = range_of(reader.block);
      for (int s = first; s < end; ++s) send_step(id, s);
    }
  }

  // Every stage that holds an updated tensor needs its new value.
  void send_update(const Update& update) {
    for (int s = 0; s < static_cast<int>(drafts_.size()); ++s)
      if (drafts_[s].sources.contains(update.state)) send_step(update.value, s);
  }

  void send_step(NodeId id, int to) {
    const int block = graph_.node(id).block;
    if (block == kWholeJob || stage_of(block) == to) return;
    drafts_[stage_of(block)].send_step.insert(id);
    drafts_[to].receive_step.insert(id);
  }

  const Graph& graph_;
  const std::vector<int>& cuts_;
  std::vector<Draft> drafts_;
  std::vector<NodeId> shared_;
};

}  // namespace

std::vector<CutPoint> cut_points(const Graph& graph) { return CutFinder(graph).run(); }

Result<std::vector<StageNodes>> stages(const Graph& graph, const Cut& cut) {
  const std::vector<CutPoint> points = cut_points(graph);
  SUANLI_RETURN_IF_ERROR(check(cut, points));
  Splitter splitter(graph, cut);
  splitter.run();
  return splitter.result(points);
}

std::vector<ReduceGroup> reduce_groups(const Graph& graph, const std::vector<StageNodes>& stages) {
  const std::vector<bool> live = graph.live();
  std::vector<ReduceGroup> groups;
  for (NodeId id : graph.nodes_of("param")) {
    if (!live[id]) continue;
    ReduceGroup group;
    group.param = id;
    const int block = graph.node(id).block;
    for (int s = 0; s < static_cast<int>(stages.size()); ++s) {
      if (std::binary_search(stages[s].params.begin(), stages[s].params.end(), id))
        group.stages.push_back(s);
      if (block >= stages[s].first_block && block <= stages[s].last_block) group.owner = s;
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

}  // namespace suanli::graph
