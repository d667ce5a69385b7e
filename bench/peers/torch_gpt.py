#!/usr/bin/env python3
"""Whole training steps of a GPT-2 in PyTorch on the CPU, on random tokens, timed. Prints one JSON object.

The same work as `suanli bench`: learned positions, pre-norm blocks, GELU (tanh form), head tied to the token embedding,
mean cross-entropy, gradients clipped to norm 1, AdamW on every parameter. bf16 means torch.autocast: parameters and
optimizer stay f32. Written for PyTorch 1.13, which has neither fused attention nor compilation; where a newer one has
scaled_dot_product_attention, that is used.

train_step.py starts it with the settings that are fastest on this machine; by itself it takes them from the environment.
"""
import argparse
import json
import os
import statistics
import time

WARM_UP = 2


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("layers", "heads", "width", "context", "vocab", "batch"):
        parser.add_argument("--" + name, type=int, required=True)
    parser.add_argument("--dtype", choices=("f32", "bf16"), required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--steps", type=int, default=0, help="timed steps; 0: about ten seconds, at least 5, at most 30")
    return parser.parse_args()


def process_age():
    """Seconds since this process began (proc(5), field 22 of stat)."""
    with open("/proc/self/stat", encoding="utf-8") as stat:
        ticks = int(stat.read().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")


def peak_resident():
    """Bytes; of this program only, unlike getrusage, which counts what ran before exec."""
    with open("/proc/self/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def quantile(values, fraction):
    values = sorted(values)
    place = fraction * (len(values) - 1)
    below = int(place)
    above = min(below + 1, len(values) - 1)
    return values[below] + (place - below) * (values[above] - values[below])


def make_model(torch, args):
    nn, functional = torch.nn, torch.nn.functional
    width, heads, context = args.width, args.heads, args.context
    fused = getattr(functional, "scaled_dot_product_attention", None)
    future = torch.ones(context, context, dtype=torch.bool).triu(1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.c_attn, self.c_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.c_fc, self.mlp_proj = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def attention(self, x):
            batch = x.shape[0]
            parts = self.c_attn(x).view(batch, context, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            query, key, value = parts[0], parts[1], parts[2]
            if fused:
                mixed = fused(query, key, value, is_causal=True)
            else:
                scores = (query * (width // heads) ** -0.5) @ key.transpose(-2, -1)
                mixed = scores.masked_fill(future, float("-inf")).softmax(dim=-1) @ value
            return self.c_proj(mixed.transpose(1, 2).reshape(batch, context, width))

        def forward(self, x):
            x = x + self.attention(self.ln_1(x))
            return x + self.mlp_proj(functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = nn.Embedding(args.vocab, width), nn.Embedding(context, width)
            self.h = nn.ModuleList(Block() for _ in range(args.layers))
            self.ln_f = nn.LayerNorm(width)
            for parameter in self.parameters():
                if parameter.dim() > 1:
                    nn.init.normal_(parameter, std=0.02)

        def forward(self, tokens, targets):
            x = self.wte(tokens) + self.wpe.weight
            for block in self.h:
                x = block(x)
            logits = functional.linear(self.ln_f(x), self.wte.weight)
            return functional.cross_entropy(logits.view(-1, args.vocab), targets.view(-1))

    return Gpt()


def main():
    args = arguments()
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = make_model(torch, args)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    tokens = torch.randint(args.vocab, (args.batch, args.context))
    targets = torch.randint(args.vocab, (args.batch, args.context))

    def step():
        begin, cpu = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = model(tokens, targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        last = loss.item()
        took = time.perf_counter() - begin
        return took, (time.process_time() - cpu) / took, last

    start = 0.0
    for number in range(WARM_UP):
        took, _, loss = step()
        if number == 0:
            start = process_age()
    steps = args.steps or int(min(30, max(5, 10 / took)))
    seconds, cores = [], []
    for _ in range(steps):
        took, busy, loss = step()
        seconds.append(took)
        cores.append(busy)
    median = statistics.median(seconds)
    print(json.dumps({
        "version": torch.__version__,
        "dtype": args.dtype,
        "threads": args.threads,
        "steps": steps,
        "tokens_per_s": args.batch * args.context / median,
        "step_ms_median": median * 1e3,
        "step_ms_p10": quantile(seconds, 0.1) * 1e3,
        "step_ms_p90": quantile(seconds, 0.9) * 1e3,
        "cpu_per_wall": statistics.median(cores),
        "params": sum(parameter.numel() for parameter in model.parameters()),
        "peak_rss_bytes": peak_resident(),
        "start_to_first_step_ms": start * 1e3,
        "loss": loss,
    }))


if __name__ == "__main__":
    main()
