"""What experiments and sweeps share on Ray Tune."""

import pickle

from slicing_rllib.studies.experiment import MessageCallback


def test_an_unpickled_callback_ignores_messages():
    """Tune pickles its callbacks, but a terminal cannot be pickled."""
    messages: list[str] = []
    callback = MessageCallback(lambda text: messages.append(text))
    callback.on_message("first")

    pickle.loads(pickle.dumps(callback)).on_message("second")

    assert messages == ["first"]
