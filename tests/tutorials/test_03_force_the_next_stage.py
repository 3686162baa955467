from tests.tutorials.running import run


def test_the_tutorial_runs():
    run("03_force_the_next_stage")
