"""What Manta is about: models, their states, and who asks. No I/O."""
