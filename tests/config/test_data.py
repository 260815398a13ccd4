import pytest

from wedefense.config.data import DataLoaderOptions, DatasetOptions, FilterOptions
from wedefense.utils.errors import OptionError


def test_crop_length_follows_the_frame_shift_of_the_chosen_front_end():
    assert DatasetOptions(frontend="huggingface").samples(150) == 48_000  # 20 ms
    assert DatasetOptions(frontend="fbank").samples(200) == 32_000        # 10 ms
    assert DatasetOptions(frontend="fbank", resample_rate=8000).samples(200) == 16_000


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
