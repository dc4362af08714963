"""The command line, ``manta``. It runs Ray and the engines as child processes and imports neither."""
