from tests.tutorials.running import run


def test_the_tutorial_runs():
    run("06_images")
