import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from satlens.saturation.stages import settled, stage_of


@given(
    st.integers(1, 8).flatmap(
        lambda n_layers: st.tuples(
            st.just(n_layers),
            hnp.arrays(
                np.int16,
                st.tuples(st.integers(0, 5), st.integers(1, 4)),
                elements=st.integers(0, n_layers - 1),
            ),
        )
    )
)
def test_stages_equal_a_loop_over_states(case):
    n_layers, layer = case
    stage = stage_of(layer, n_layers)
    assert stage.shape == (len(layer), n_layers)
    for token, fixed in enumerate(layer.tolist()):
        for at in range(n_layers):
            leading = 0
            while leading < len(fixed) and fixed[leading] < at:
                leading += 1
            assert stage[token, at] == 1 + leading


def test_a_rank_waits_for_the_ranks_above_it():
    layer = np.array([[3, 1, 4], [0, 0, 5]])
    assert settled(layer).tolist() == [[3, 3, 4], [0, 0, 5]]
    assert stage_of(layer, 6).tolist() == [[1, 1, 1, 1, 3, 4], [1, 3, 3, 3, 3, 3]]
