"""The program that starts and watches this machine's processes of a run: torchrun, which ends with its own parent.

Run as ``python -m n2n.training.agent`` with torchrun's arguments. It does not train, and imports no trainer.
"""

import signal

from n2n.monitor.processes import end_with_parent


def main() -> None:
    """Run torchrun, and end when the process that started it ends.

    Slurm sends SIGUSR2 to every process of a job. It is meant for the training processes, which save; torchrun would
    die of it.
    """
    end_with_parent(signal.SIGTERM)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    from torch.distributed.run import main as torchrun  # here, because both hold while torch is being imported

    torchrun()


if __name__ == "__main__":
    main()
