from tests.tutorials.running import run


def test_the_tutorial_runs():
    run("08_token_routing")
