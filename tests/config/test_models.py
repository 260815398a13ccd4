import pickle
import subprocess
import sys

import pytest

from wedefense.config.heads import HEADS, InterTopKOptions, LossOptions, SphereOptions
from wedefense.config.models import BACKENDS, CAMHFAOptions, MHFAOptions, SLSOptions
from wedefense.utils.errors import OptionError


def test_options_are_read_without_torch():
    code = "import sys, wedefense.config.models; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("make, key", [
    (lambda: CAMHFAOptions(context=4), "context"),
    (lambda: CAMHFAOptions(context=-1), "context"),
    (lambda: MHFAOptions(head_nb=0), "head_nb"),
    (lambda: MHFAOptions(feat_dim=0), "feat_dim"),
    (lambda: SLSOptions(frame_length=2), "frame_length"),
    (lambda: SphereOptions(margin=6), "margin"),
    (lambda: InterTopKOptions(K=0), "K"),
    (lambda: LossOptions(weight=(0.5, -0.1)), "weight"),
    (lambda: LossOptions(weight={"bonafide": 0.0}), "weight"),
    (lambda: LossOptions(weight=(1.0, 0.0)), "weight"),  # a batch of that class alone would have no mean
    (lambda: LossOptions(label_smoothing=1.5), "label_smoothing"),
])
def test_impossible_values_name_their_key(make, key):
    with pytest.raises(OptionError) as caught:
        make()
    assert caught.value.key == key


def test_every_default_is_possible_and_survives_a_process_boundary():
    for registry in (BACKENDS, HEADS):
        for name in registry.names():
            options = registry.options(name)()
            assert pickle.loads(pickle.dumps(options)) == options


def test_the_default_project_type_of_a_head_is_its_own_name():
    for name in set(HEADS.names()) - {"MSEp2sgrad"}:
        assert HEADS.options(name)().project_type == name
