"""For launchers that start modules: `torchrun -m trl_3spo.cli evaluate …`."""

from trl_3spo.cli import main

if __name__ == "__main__":
    main()
