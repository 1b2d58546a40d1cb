#!/usr/bin/env python3
"""What consumers' own readers make of bundles that gstick writes, and gstick of bundles that they write.

    VENV/bin/python tests/interop/run.py GSTICK DATA [-k WORD]

GSTICK is the program, DATA the folder of shared test data. Models are quantized to every format, scheme and dtype into a scratch
directory, and each result is read by the packages installed in the virtual environment (scripts/test --interop makes
it) or by a mimic of a server's look-up. A case whose package is missing is skipped, with a word. The last line is
"N passed, N failed, N skipped".
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile

os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
HERE = os.path.dirname(os.path.abspath(__file__))
STORIES = "data/lm/stories260K-hf-llama"
STORIES_IDS = "data/lm/golden/stories260K_tokens512.i32"
FAMILIES = "reference/families"
# directory, token ids, tokens a window (which divides their number)
MODELS = {
    "stories260K": (STORIES, STORIES_IDS, 128),
    "qwen2": (f"{FAMILIES}/qwen2", f"{FAMILIES}/qwen2/ids.i32", 96),
    "llama2-bf16": (f"{FAMILIES}/llama2-bf16-sharded", f"{FAMILIES}/llama2-bf16-sharded/ids.i32", 96),
}
# Reference models that llama.cpp computes, too, and what is changed in their config.json first: its "llama" has no windows. Its
# GELU looks values up in a table of f16.
GGUF_FAMILIES = {"llama2": {}, "llama3-rope": {}, "llama-linear-rope-bias": {}, "mistral-window": {"sliding_window": None}, "qwen3": {},
                 "phi3-fused": {}, "gemma2": {}, "granite": {}, "olmo2-postnorm": {}}
GGUF_SETTINGS = ("llama yarn", "llama yarn with a factor of attention", "llama linear", "llama llama3", "llama one head dim", "llama biases",
                 "mistral without window", "qwen2 yarn", "qwen3 tied", "granite", "granite biases", "gemma2 window 5 of 64",
                 "gemma2 wide heads", "olmo2", "phi3", "phi3 half rotated")
GGUF_EXACT, GGUF_TABLE = 1e-5, 1e-4
# least share of tokens that agree, largest difference of all (transformers_logits.py)
EXACT, STATIC, DYNAMIC = (1.0, 1e-5), (0.1, 0.03), (0.0, 0.03)
# of the cache that scripts/fetch-test-vocab fills, but for those below DATA
VOCABULARIES = (*(f"tokenizers/{name}" for name in ("qwen3", "qwen2_5", "llama2", "llama3_2", "gpt2", "deepseek_v3", "internlm2", "baichuan2",
                                                    "gemma2", "mistral_nemo")),
                "SmolLM2-135M-Instruct.Q4_1.gguf", "data/tokenizers/llama2_tokenizer.model", "reference/msmodelslim/source/tokenizer.model")
ASCEND_SCHEMES = ("w8a16", "w8a8", "w8a8-dynamic", "w8a8-mix", "float")


class Skip(Exception):
    pass


class Run:
    def __init__(self, gstick, data, scratch):
        self.gstick, self.data, self.scratch = gstick, data, scratch
        self.made = 0

    def path(self, relative):
        path = os.path.join(self.data, relative)
        if not os.path.exists(path):
            raise Skip(f"{relative} is not there")
        return path

    def model(self, name):
        """Directory and token ids."""
        return self.path(MODELS[name][0]), self.path(MODELS[name][1])

    def first_ids(self, relative, count):
        """A file of the first token ids of another."""
        out = self.out("ids") + ".i32"
        with open(self.path(relative), "rb") as source, open(out, "wb") as target:
            target.write(source.read(4 * count))
        return out

    def out(self, stem):
        self.made += 1
        return os.path.join(self.scratch, f"{self.made:03d}-{stem}")

    def call(self, *words, check=True):
        done = subprocess.run([str(w) for w in words], capture_output=True, text=True)
        if check and done.returncode != 0:
            raise AssertionError(f"{' '.join(str(w) for w in words)}: {(done.stdout + done.stderr).strip()[-600:]}")
        return done

    def quantize(self, model, fmt, scheme, dtype, *more):
        source, ids = self.model(model)
        out = self.out(f"{model}-{fmt}-{scheme}-{dtype}")
        words = [self.gstick, "quantize", source, "-o", out, "--format", fmt, "--scheme", scheme, "--dtype", dtype, *more]
        if scheme in ("w8a8", "w8a8-mix") or "int8" in more:
            words += ["--calib", ids, "--samples", "4", "--seq", "24"]
        self.call(*words)
        return out

    def python(self, script, *words):
        return self.call(sys.executable, os.path.join(HERE, script), *words)

    def logits(self, model, bundle, *more):
        path = self.out("logits") + ".f32"
        done = self.call(self.gstick, "eval", bundle, "--tokens", self.model(model)[1], "--window", MODELS[model][2],
                         "--dump-logits", path, "--json", *more)
        return path, json.loads(done.stdout)

    def agrees(self, model, bundle, bounds):
        """transformers computes what eval --arith exact computes."""
        from transformers_logits import compare
        logits, _ = self.logits(model, bundle, "--arith", "exact")
        good, text = compare(bundle, self.model(model)[1], logits, bounds, MODELS[model][2])
        if not good:
            raise AssertionError(text)
        return text


def package(name):
    if importlib.util.find_spec(name) is None:
        raise Skip(f"the package {name} is not installed")


# ---- the cases ----

def ascend_is_looked_up(run, model, scheme, dtype, *more):
    """A mimic of both servers' look-up loads every tensor; safetensors and our verifier read them too."""
    package("safetensors")
    bundle = run.quantize(model, "ascend", scheme, dtype, *more)
    consumer = "both" if "--target" not in more else more[more.index("--target") + 1]
    run.python("ascend_lookup.py", bundle, "--consumer", consumer)
    run.call(run.gstick, "verify", bundle)


def drop_offset(tensors):
    del tensors["model.layers.0.mlp.up_proj.weight_offset"]


def drop_bias(tensors):
    del tensors["model.layers.1.mlp.gate_proj.quant_bias"]


def split_scales(tensors):
    tensors["model.layers.0.self_attn.k_proj.input_scale"] *= 2


def float_deq_scale(tensors):
    name = "model.layers.0.self_attn.o_proj.deq_scale"
    tensors[name] = tensors[name].int().view(__import__("torch").float32)


def asymmetric(tensors):
    tensors["model.layers.0.mlp.up_proj.weight_offset"] += 1


def look_up_refuses(run, model, scheme, change):
    """The mimic is no rubber stamp: what a server would load wrong it refuses."""
    package("safetensors")
    from safetensors.torch import load_file, save_file
    bundle = run.quantize(model, "ascend", scheme, "f16", *(["--fallback", "none"] if scheme == "w8a8" else []))
    weights = os.path.join(bundle, "quant_model_weights.safetensors")
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    for reader in ([sys.executable, os.path.join(HERE, "ascend_lookup.py"), bundle], [run.gstick, "verify", bundle]):
        done = run.call(*reader, check=False)
        if done.returncode != 1 and reader[0] != run.gstick or done.returncode == 0:
            raise AssertionError(f"{change.__name__} was accepted by {reader[0]}: {done.stdout}")


def safetensors_reads(run, model, fmt, scheme, dtype):
    package("safetensors")
    run.python("read_all.py", run.quantize(model, fmt, scheme, dtype))


def transformers_agrees(run, model, scheme, dtype, bounds):
    package("compressed_tensors")
    return run.agrees(model, run.quantize(model, "compressed-tensors", scheme, dtype), bounds)


def dequantized_agrees(run, model, fmt, dtype):
    """Codes, scales and names of a format, unpacked in Python, give the logits that we compute from the bundle."""
    package("transformers")
    from dequantize import FORMATS
    from transformers_logits import compare
    bundle = run.quantize(model, fmt, "w8a16", dtype)
    logits, _ = run.logits(model, bundle, "--arith", "exact")
    good, text = compare(bundle, run.model(model)[1], logits, EXACT, MODELS[model][2], FORMATS[fmt](bundle))
    if not good:
        raise AssertionError(text)
    return text


def exported_agrees(run, model, scheme, dtype, bounds):
    """An Ascend bundle, exported to compressed-tensors: same codes, and transformers computes the same."""
    package("compressed_tensors")
    bundle, out = run.quantize(model, "ascend", scheme, dtype, "--target", "vllm-ascend"), run.out("exported")
    run.call(run.gstick, "export", bundle, "--to", "compressed-tensors", "-o", out)
    return run.agrees(model, out, bounds)


def library_bundle_reads(run, model, kind, bounds):
    """A bundle that the compressed-tensors package wrote: we read it and compute what transformers computes."""
    package("compressed_tensors")
    source, ids = run.model(model)
    bundle = run.out(f"library-{kind}")
    from make_compressed_tensors import make
    make(source, ids, bundle, kind)
    return run.agrees(model, bundle, bounds)


def llama_cpp(run, gguf, ids, window, tolerance):
    done = run.call(run.gstick, "eval", gguf, "--tokens", ids, "--window", window, "--json")
    done = run.python("llama_cpp_nll.py", gguf, ids, json.loads(done.stdout)["nll"], "--window", window, "--tolerance", tolerance)
    return done.stdout.strip()


def llama_cpp_agrees(run, model, scheme, dtype, tolerance):
    package("llama_cpp")
    gguf = os.path.join(run.quantize(model, "gguf", scheme, dtype), "model.gguf")
    ids, window = run.model(model)[1], MODELS[model][2]
    if model == "stories260K":
        ids, window = run.first_ids("data/lm/golden/stories260K_eval_61440.i32", 8192), 512
    return llama_cpp(run, gguf, ids, window, tolerance)


def llama_cpp_agrees_dequantized(run, model, dtype):
    """Codes and scales alone: llama.cpp rounds activations to Q8_0 as well, and so is given the weights as floats."""
    package("llama_cpp")
    packed = os.path.join(run.quantize(model, "gguf", "w8a16", dtype), "model.gguf")
    out = run.out("dequantized")
    run.call(run.gstick, "quantize", packed, "-o", out, "--format", "gguf", "--scheme", "float", "--dtype", "f32")
    done = run.call(run.gstick, "eval", packed, "--tokens", run.model(model)[1], "--window", MODELS[model][2], "--json")
    done = run.python("llama_cpp_nll.py", os.path.join(out, "model.gguf"), run.model(model)[1], json.loads(done.stdout)["nll"],
                      "--window", MODELS[model][2], "--tolerance", 1e-5)
    return done.stdout.strip()


def gguf_of(run, source, scheme):
    out = run.out("gguf")
    run.call(run.gstick, "quantize", source, "-o", out, "--format", "gguf", "--scheme", scheme, "--dtype", "f32")
    return os.path.join(out, "model.gguf")


def changed(run, folder, changes):
    """The same weights with another config.json."""
    source = os.path.abspath(run.path(folder))  # links to it are made elsewhere
    if not changes:
        return source
    out = run.out("changed")
    os.mkdir(out)
    with open(os.path.join(source, "config.json"), encoding="utf-8") as f:
        config = {**json.load(f), **changes}
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)
    for name in os.listdir(source):
        if name.endswith(".safetensors"):
            os.symlink(os.path.join(source, name), os.path.join(out, name))
    return out


def nll_of(run, model, ids, window):
    done = run.call(run.gstick, "eval", model, "--tokens", ids, "--window", window, "--json")
    return json.loads(done.stdout)["nll"]


def llama_cpp_computes(run, name, scheme):
    """A family's reference model as GGUF. Written from codes, then once more as the floats that they stand for: on top of the codes
    llama.cpp rounds activations to Q8_0, which on random weights moves the mean by up to 7e-3 nats (also of the oldest of these
    models). So codes and scales are judged by the floats, exactly; Q8_0 itself by two thousandths of the NLL, which only says that
    its kernels read the file."""
    package("llama_cpp")
    ids, source = run.path(f"{FAMILIES}/{name}/ids.i32"), changed(run, f"{FAMILIES}/{name}", GGUF_FAMILIES[name])
    exact = GGUF_TABLE if name == "gemma2" else GGUF_EXACT
    if scheme == "float":
        gguf, want = gguf_of(run, source, "float"), nll_of(run, source, ids, 96)
        read = nll_of(run, gguf, ids, 96)
        if abs(read - want) > 1e-6 * want:
            raise AssertionError(f"the file reads as {read}, its source as {want}")
        return llama_cpp(run, gguf, ids, 96, exact)
    packed = gguf_of(run, source, "w8a16")
    floats, want = gguf_of(run, packed, "float"), nll_of(run, packed, ids, 96)
    done = run.python("llama_cpp_nll.py", floats, ids, want, "--window", 96, "--tolerance", exact)
    return f"{done.stdout.strip()}; Q8_0: {llama_cpp(run, packed, ids, 96, 2e-3 * want)}"


def llama_cpp_computes_made(run, name):
    """The same of a model with other settings. What transformers makes of them: made_by_transformers."""
    package("llama_cpp")
    from make_model import make
    folder = run.out("made")
    ids = make(name, folder)
    return llama_cpp(run, gguf_of(run, folder, "float"), ids, 128, GGUF_TABLE if name.startswith("gemma2") else GGUF_EXACT)


def tokenizer_agrees(run, name):
    """Ids of texts and of random strings are those of the official library, all of them."""
    package("sentencepiece" if name.endswith(".model") else "tokenizers")
    cache = os.environ.get("GSTICK_TEST_CACHE") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "gstick")
    path = run.path(name) if name.endswith(".model") else os.path.join(cache, name)
    if not os.path.exists(path):
        raise Skip(f"{name} is not there (scripts/fetch-test-vocab --interop)")
    run.python("tokenizers_parity.py", run.gstick, path, run.data)


def made_by_transformers(run, name):
    """A float model with settings that no reference model has: the same logits, in windows longer than the context it was made for."""
    package("transformers")
    from make_model import SETTINGS, make
    from transformers_logits import compare
    folder = run.out("made")
    ids, logits, helper = make(name, folder), run.out("logits") + ".f32", SETTINGS[name][2:]
    described = ("--helper", os.path.join(HERE, "..", "..", *helper)) if helper else ()
    run.call(run.gstick, "eval", folder, "--tokens", ids, "--window", 128, "--dump-logits", logits, "--json", *described)
    good, text = compare(folder, ids, logits, EXACT, 128)
    if not good:
        raise AssertionError(text)
    return text


def settings(_run=None):
    package("transformers")
    from make_model import SETTINGS
    return SETTINGS


def cases():
    for name in VOCABULARIES:
        yield f"tokenizer: {name}", tokenizer_agrees, (name,)
    for model in MODELS:
        for dtype in ("f16", "bf16"):
            for scheme in ASCEND_SCHEMES:
                yield f"look-up of {model} {scheme} {dtype}", ascend_is_looked_up, (model, scheme, dtype)
            yield f"look-up of {model} w8a8 without smoothing {dtype}", ascend_is_looked_up, (model, "w8a8", dtype, "--alpha", "none")
            yield f"look-up of {model} w8a8 with int8 cache {dtype}", ascend_is_looked_up, (model, "w8a8", dtype, "--kv-cache", "int8")
            yield (f"look-up of {model} w8a8 in shards {dtype}", ascend_is_looked_up,
                   (model, "w8a8", dtype, "--max-shard-size", "40000"))
            yield (f"look-up of {model} w8a8 with dynamic fallback {dtype}", ascend_is_looked_up,
                   (model, "w8a8", dtype, "--target", "vllm-ascend", "--fallback", "down_proj"))
    for scheme, change in (("w8a16", drop_offset), ("w8a8", drop_bias), ("w8a8", split_scales), ("w8a8", float_deq_scale),
                           ("w8a16", asymmetric)):
        yield f"look-up refuses {change.__name__}", look_up_refuses, ("stories260K", scheme, change)
    for fmt, scheme in (("ascend", "w8a8-mix"), ("compressed-tensors", "w8a16"), ("compressed-tensors", "w8a8"), ("gptq", "w8a16"),
                        ("mindspore", "w8a16"), ("mindspore", "w8a8")):
        yield f"safetensors reads {fmt} {scheme}", safetensors_reads, ("stories260K", fmt, scheme, "f16")
    if importlib.util.find_spec("transformers"):
        for name in settings():
            yield f"made by transformers: {name}", made_by_transformers, (name,)
    else:
        yield "made by transformers", settings, ()
    for model in ("stories260K", "qwen2"):
        for fmt in ("ascend", "mindspore", "mindspore-ckpt", "gptq"):
            for dtype in ("f16", "bf16"):
                yield f"unpacked in Python: {model} {fmt} {dtype}", dequantized_agrees, (model, fmt, dtype)
        for dtype in ("f32", "f16", "bf16"):
            yield f"transformers: {model} w8a16 {dtype}", transformers_agrees, (model, "w8a16", dtype, EXACT)
            yield f"transformers: {model} w8a8 {dtype}", transformers_agrees, (model, "w8a8", dtype, STATIC)
            yield f"transformers: {model} w8a8-dynamic {dtype}", transformers_agrees, (model, "w8a8-dynamic", dtype, DYNAMIC)
        for scheme, bounds in (("w8a16", EXACT), ("w8a8", STATIC), ("w8a8-dynamic", DYNAMIC)):
            yield f"transformers: {model} {scheme} exported", exported_agrees, (model, scheme, "bf16", bounds)
        for kind, bounds in (("w8a16", EXACT), ("w8a16-group", EXACT), ("static", STATIC), ("dynamic", DYNAMIC)):
            yield f"library's own {kind} of {model}", library_bundle_reads, (model, kind, bounds)
    for model in ("stories260K", "qwen2"):
        yield f"llama.cpp: {model} float f32", llama_cpp_agrees, (model, "float", "f32", 1e-5)
        # the other model's weights are random, its NLL is 26 and the rounding of activations shows: a thousandth of that
        tolerance = 1e-3 if model == "stories260K" else 2.6e-2
        for dtype in ("f16", "bf16"):
            yield f"llama.cpp: {model} w8a16 {dtype}", llama_cpp_agrees, (model, "w8a16", dtype, tolerance)
            yield f"llama.cpp: {model} float {dtype}", llama_cpp_agrees, (model, "float", dtype, tolerance)
            yield f"llama.cpp: {model} w8a16 {dtype} dequantized", llama_cpp_agrees_dequantized, (model, dtype)
    for model in GGUF_FAMILIES:
        for scheme in ("float", "w8a16"):
            yield f"llama.cpp: family {model} {scheme}", llama_cpp_computes, (model, scheme)
    for name in GGUF_SETTINGS if importlib.util.find_spec("transformers") else ():
        yield f"llama.cpp: made {name}", llama_cpp_computes_made, (name,)


def main():
    gstick, data = sys.argv[1:3]
    word = sys.argv[sys.argv.index("-k") + 1] if "-k" in sys.argv else ""
    count = {"ok": 0, "FAIL": 0, "skip": 0}
    with tempfile.TemporaryDirectory() as scratch:
        run = Run(gstick, data, scratch)
        for name, case, arguments in cases():
            if word not in name:
                continue
            verdict, why = "ok", ""
            try:
                told = case(run, *arguments)
                why = f": {told}" if told else ""
            except Skip as reason:
                verdict, why = "skip", f": {reason}"
            except AssertionError as reason:
                verdict, why = "FAIL", f": {reason}"
            count[verdict] += 1
            print(f"{verdict:5} {name}{why}", flush=True)
    print(f"{count['ok']} passed, {count['FAIL']} failed, {count['skip']} skipped")
    return 1 if count["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
