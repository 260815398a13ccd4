"""The figures of tools/structure.py, on a small house that can be counted by hand."""

from tools.structure import additions, long_functions, packages, read_sources, upward

FILES = {
    "utils/words.py": "def late():\n    from wedefense import train\n    return train\n",
    "config/parts.py": ('from wedefense.config.registry import Registry, Row\nfrom wedefense.models import net\n\n\n'
                        'class NetOptions:\n    pass\n\n\n'
                        'PARTS = Registry("part", {"NET": Row("wedefense.models.net:Net", NetOptions)})\n'),
    "config/registry.py": "class Registry:\n    pass\n\n\nclass Row:\n    pass\n",
    "models/net.py": "from wedefense.config.parts import NetOptions\n\n\nclass Net:\n    options = NetOptions\n",
    "train/run.py": "from wedefense.models.net import Net\n\n\ndef run():\n" + "    pass\n" * 60,
    "odd/thing.py": 'KNOWN = "NET", "network"\n',
}


def house(root):
    for name, text in FILES.items():
        path = root / "wedefense" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_sources(root)


def test_an_import_from_a_higher_floor_is_found_wherever_it_stands(tmp_path):
    assert upward(house(tmp_path)) == ["wedefense/config/parts.py:2 imports wedefense.models",
                                       "wedefense/utils/words.py:2 imports wedefense.train"]


def test_packages_stand_by_their_floors_and_what_has_none_is_said(tmp_path):
    rows = [line.split() for line in packages(house(tmp_path))][1:]
    assert [row[1] for row in rows] == ["train", "models", "config", "utils", "odd"]
    assert rows[0][2:] == ["1", "64", "models"] and rows[-1][0] == "none"


def test_a_function_of_more_than_a_screen_is_named(tmp_path):
    assert long_functions(house(tmp_path)) == ["  61  wedefense/train/run.py:4 run"]


def test_files_that_name_a_part_by_its_name_its_class_or_its_options(tmp_path):
    _, counts, names = additions(house(tmp_path), tmp_path)
    assert counts.split() == ["part", "1", "4", "4", "4"]
    assert names.split() == ["NET:", "config/parts.py", "models/net.py", "odd/thing.py", "train/run.py"]
