"""What a training is asked to do: settings, hardware, and the job that processes share."""
