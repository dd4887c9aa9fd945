"""A model behind OpenAI's chat completions with the transformers library: for what vLLM does not serve.

``python -m finetrail.serving.hf_server --model FOLDER_OR_ID ... --port N``; the key comes from FINETRAIL_HF_KEY. It
knows
what the engine sends and refuses every other field. Requests that wait together are answered together.
"""
