"""The process that a check has of its own."""

from harness.process import run_program


def test_a_result_that_nobody_reads_is_no_error() -> None:
    done = run_program(
        """
        import os
        from subduct.selftest import child

        reader, writer = os.pipe()
        os.close(reader)
        pid = os.fork()
        if pid == 0:
            child._be_child(dict, writer, os.getppid(), ())
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        """
    )
    assert (done.stdout, done.stderr) == ("0\n", "")
