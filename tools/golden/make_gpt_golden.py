"""Writes suanli/model/testdata/gpt_golden.safetensors, the oracle of suanli/model/gpt_golden_test.cc.

A small GPT-2, written here in plain torch operations with the parameter names and shapes of suanli/model/gpt.h,
is trained for three steps. Weights and tokens are drawn from a seed, the weights rounded to float32; all arithmetic
is torch's in float64, so that the oracle's own rounding is far below what the test allows. Values are stored as
float32. README.md says how to run it.
"""

import argparse
import json
import math
import os
import struct

import torch
import torch.nn.functional as F

LAYERS, HEADS, WIDTH, CONTEXT, VOCAB, BATCH = 2, 4, 32, 24, 61, 3
NORM_EPS = 1e-5
LEARNING_RATES = [0.004, 0.01, 0.006]  # one per step
BETAS, ADAM_EPS, WEIGHT_DECAY, CLIP_NORM = (0.9, 0.95), 1e-8, 0.1, 2.4
SEED = 1
DTYPES = {torch.float32: "F32", torch.int32: "I32"}


def shapes():
    """Name and shape of every parameter; matrices are [in, out]."""
    yield "wte.weight", (VOCAB, WIDTH)
    yield "wpe.weight", (CONTEXT, WIDTH)
    for layer in range(LAYERS):
        h = f"h.{layer}."
        for norm in ("ln_1", "ln_2"):
            yield f"{h}{norm}.weight", (WIDTH,)
            yield f"{h}{norm}.bias", (WIDTH,)
        for linear, size_in, size_out in (
            ("attn.c_attn", WIDTH, 3 * WIDTH),
            ("attn.c_proj", WIDTH, WIDTH),
            ("mlp.c_fc", WIDTH, 4 * WIDTH),
            ("mlp.c_proj", 4 * WIDTH, WIDTH),
        ):
            yield f"{h}{linear}.weight", (size_in, size_out)
            yield f"{h}{linear}.bias", (size_out,)
    yield "ln_f.weight", (WIDTH,)
    yield "ln_f.bias", (WIDTH,)


def initial_weights(generator):
    """Wider than GPT-2's own, and no bias 0 nor gain 1: a term that is left out must show."""
    weights = {}
    for name, shape in shapes():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if len(shape) == 2:
            value = 0.2 * noise
        elif ".ln_" in "." + name and name.endswith(".weight"):
            value = 1 + 0.1 * noise
        else:
            value = 0.1 * noise
        weights[name] = value.float().double().requires_grad_()
    return weights


def batches(generator):
    """Tokens and next-token targets per step, [steps, BATCH, CONTEXT]. About a quarter of the targets is -1 (not
    counted), unevenly over the sequences: micro-batches of one sequence then count different numbers of tokens."""
    steps = len(LEARNING_RATES)
    text = torch.randint(VOCAB, (steps, BATCH, CONTEXT + 1), generator=generator)
    tokens, targets = text[..., :-1].clone(), text[..., 1:].clone()
    chance = torch.tensor([0.05, 0.2, 0.5]).view(1, BATCH, 1)
    targets[torch.rand(targets.shape, generator=generator) < chance] = -1
    return tokens, targets


def attention(w, prefix, x):
    def heads(t):  # [B, T, C] -> [B, H, T, C / H]
        return t.view(BATCH, CONTEXT, HEADS, WIDTH // HEADS).transpose(1, 2)

    qkv = x @ w[prefix + "c_attn.weight"] + w[prefix + "c_attn.bias"]
    q, k, v = (heads(part) for part in qkv.split(WIDTH, dim=-1))
    scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
    later = torch.ones(CONTEXT, CONTEXT, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(later, -math.inf).softmax(-1)
    mixed = (weights @ v).transpose(1, 2).reshape(BATCH, CONTEXT, WIDTH)
    return mixed @ w[prefix + "c_proj.weight"] + w[prefix + "c_proj.bias"]


def logits_of(w, tokens):
    """[B, T] -> [B, T, V]"""

    def norm(x, name):
        return F.layer_norm(x, (WIDTH,), w[name + ".weight"], w[name + ".bias"], NORM_EPS)

    x = w["wte.weight"][tokens] + w["wpe.weight"]
    for layer in range(LAYERS):
        h = f"h.{layer}."
        x = x + attention(w, h + "attn.", norm(x, h + "ln_1"))
        inner = norm(x, h + "ln_2") @ w[h + "mlp.c_fc.weight"] + w[h + "mlp.c_fc.bias"]
        gelu = F.gelu(inner, approximate="tanh")
        x = x + gelu @ w[h + "mlp.c_proj.weight"] + w[h + "mlp.c_proj.bias"]
    return norm(x, "ln_f") @ w["wte.weight"].t()


def save(path, tensors, metadata):
    """The safetensors format: u64 length, JSON header, packed data."""
    header, data = {"__metadata__": metadata}, b""
    for name, tensor in tensors.items():
        bytes_ = tensor.contiguous().numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(bytes_)],
        }
        data += bytes_
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % 64)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    parser = argparse.ArgumentParser(description="Writes the golden values of the GPT test.")
    parser.add_argument("--out", default=os.path.join(here, "../../suanli/model/testdata/gpt_golden.safetensors"))
    out = parser.parse_args().out

    torch.set_num_threads(1)  # sums in one order on every machine
    generator = torch.Generator().manual_seed(SEED)
    w = initial_weights(generator)
    tokens, targets = batches(generator)
    tensors = {"initial." + name: value.detach().float() for name, value in w.items()}
    tensors["tokens"], tensors["targets"] = tokens.int(), targets.int()
    tensors["lr"] = torch.tensor(LEARNING_RATES)

    # Matrices and embeddings decay, norms and biases do not.
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in w.values() if p.dim() == 2], "weight_decay": WEIGHT_DECAY},
            {"params": [p for p in w.values() if p.dim() == 1], "weight_decay": 0.0},
        ],
        betas=BETAS,
        eps=ADAM_EPS,
    )
    losses, norms = [], []
    for step, rate in enumerate(LEARNING_RATES):
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(rate).item()  # the float32 number that is stored
        optimizer.zero_grad()
        logits = logits_of(w, tokens[step])
        loss = F.cross_entropy(logits.view(-1, VOCAB), targets[step].view(-1), ignore_index=-1)
        loss.backward()
        if step == 0:
            tensors["logits"] = logits.detach().float().view(-1, VOCAB)
            tensors.update({"gradient." + name: p.grad.float() for name, p in w.items()})
        norms.append(torch.nn.utils.clip_grad_norm_(list(w.values()), CLIP_NORM).item())
        losses.append(loss.item())
        optimizer.step()
    assert min(norms) < CLIP_NORM < max(norms), "clipping should be active in some steps and not in others"
    tensors.update({"trained." + name: value.detach().float() for name, value in w.items()})
    tensors["losses"], tensors["grad_norms"] = torch.tensor(losses), torch.tensor(norms)

    metadata = {
        "torch": torch.__version__,
        "command": "/usr/bin/python3 tools/golden/make_gpt_golden.py",
        "arithmetic": "float64, stored as float32",
        "layers": str(LAYERS),
        "heads": str(HEADS),
        "norm_eps": str(NORM_EPS),
        "beta1": str(BETAS[0]),
        "beta2": str(BETAS[1]),
        "adam_eps": str(ADAM_EPS),
        "weight_decay": str(WEIGHT_DECAY),
        "clip_norm": str(CLIP_NORM),
    }
    save(out, tensors, metadata)
    print("losses", losses, "gradient norms", norms)
    print(f"{os.path.getsize(out)} bytes in {os.path.normpath(out)}")


if __name__ == "__main__":
    main()
