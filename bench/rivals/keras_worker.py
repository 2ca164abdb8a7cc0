"""One library with a Keras model, in a process of its own, as bench_hub:
keras_worker.py LIBRARY MODEL FILE THREADS INPUTS

LIBRARY is torch, compiled torch, onnxruntime or keras; or make, which writes the file and the
inputs. Reads and prints what bench_hub does.
"""
import os
import sys

from worker import measure, prepare, say, unbind


def onnx_session(module, x, threads):
    import io
    import onnxruntime
    import torch
    file = io.BytesIO()
    torch.onnx.export(module, (x,), file, input_names=["x"], output_names=["y"], dynamo=False,
                      opset_version=17, dynamic_axes={"x": {0: "b"}})
    unbind()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(file.getvalue(), settings,
                                        providers=["CPUExecutionProvider"])


def ways(library, name, file, threads, inputs):
    """What computes each batch, a function that returns an array."""
    import keras
    import torch
    from keras_models import module
    from safetensors.torch import load_file
    torch.set_num_threads(threads)
    batches = load_file(inputs)
    if library == "onnxruntime":
        session = onnx_session(module(name, file), next(iter(batches.values())), threads)
        return {way: lambda x=x.numpy(): session.run(None, {"x": x})[0]
                for way, x in batches.items()}
    if library == "keras":
        model = keras.saving.load_model(file)
        call = lambda x: model(x, training=False)
    else:
        call = module(name, file)
        if library == "compiled torch":
            call = torch.compile(call, dynamic=False)

    @torch.inference_mode()
    def run(x):
        return call(x).numpy()
    return {way: lambda x=x: run(x) for way, x in batches.items()}


def main():
    library, name, file, threads, inputs = sys.argv[1:]
    out = os.dup(1)  # libraries print to standard output
    os.dup2(2, 1)
    sys.stdout = os.fdopen(out, "w")
    prepare(int(threads))
    os.environ["KERAS_BACKEND"] = "torch"
    from safetensors.numpy import save_file
    if library == "make":
        from keras_models import make
        make(name, file, inputs)
        return
    found = ways(library, name, file, int(threads), inputs)
    print("ready", flush=True)
    for line in sys.stdin:
        way, *result = line.split()
        try:
            if result:
                save_file({"y": found[way]()}, result[0])
            say(ms=measure(found[way], 0.1))
        except Exception as error:  # what a library cannot do is no figure
            say(why=f"{type(error).__name__}: {error}"[:300])


if __name__ == "__main__":
    main()
