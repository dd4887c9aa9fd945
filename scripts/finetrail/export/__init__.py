"""Export: a trained folder becomes a GGUF file and a Modelfile, and proves that it answers as before."""
