from tests.tutorials.running import run


def test_the_tutorial_runs():
    run("02_probe_the_stage")
