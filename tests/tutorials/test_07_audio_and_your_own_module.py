from tests.tutorials.running import run


def test_the_tutorial_runs():
    run("07_audio_and_your_own_module")
