import pytest

from wedefense.config.data import DataLoaderOptions, DatasetOptions, FilterOptions
from wedefense.utils.errors import OptionError


def test_crop_length_follows_the_frame_shift_of_the_chosen_front_end():
    assert DatasetOptions(frontend="huggingface").samples(150) == 48_000  # 20 ms
    assert DatasetOptions(frontend="fbank").samples(200) == 32_240        # 10 ms, and the last one is 25 ms long
    assert DatasetOptions(frontend="fbank", resample_rate=8000).samples(200) == 16_120
    assert DatasetOptions(frontend="fbank").span(200) == 32_000 and DatasetOptions().samples(0) == 0


def test_a_crop_has_as_many_frames_as_were_asked_for():
    import torch

    from wedefense.config.frontend import FRONTENDS

    for name in ("fbank", "lfcc"):
        options = DatasetOptions(frontend=name)
        if name == "lfcc":  # a frame is as long as the Fourier transform, which WeDefense does not count either
            assert options.samples(200) == (199 * 10 + 20) * 16
            continue
        samples = options.samples(200)
        frontend = FRONTENDS.load(name)(options.frontend_options, 16000)
        assert frontend(torch.zeros(1, samples), [samples]).layers[0].shape[1] == 200


@pytest.mark.parametrize("make, key", [
    (lambda: DataLoaderOptions(batch_size=0), "batch_size"),
    (lambda: DataLoaderOptions(num_workers=-1), "num_workers"),
    (lambda: FilterOptions(min_num_frames=200, max_num_frames=100), "max_num_frames"),
    (lambda: DatasetOptions(num_frms=0), "num_frms"),
    (lambda: DatasetOptions(aug_prob=1.5), "aug_prob"),
    (lambda: DatasetOptions(resample_rate=16), "resample_rate"),
])
def test_impossible_values_name_their_key(make, key):
    with pytest.raises(OptionError) as caught:
        make()
    assert caught.value.key == key
