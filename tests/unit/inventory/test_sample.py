"""The commented sample is the manual: it loads, names every key and its default, and is Ansible's too."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml

from orchestrator.inventory.load import load, read
from orchestrator.inventory.schema import json_schema
from orchestrator.inventory.settings import DEFAULTS, settings
from orchestrator.inventory.written import HostVars, PairVars
from tests.unit.inventory.cases import CASES
from tests.unit.inventory.texts import SAMPLE, SMALL
from tests.unit.inventory.texts import read as read_text

TEXT = SAMPLE.read_text(encoding="utf-8")
KEYS = sorted({*PairVars.model_fields, *HostVars.model_fields})
COMMENTED = re.compile(r"^ *# ((?:mm|ansible)_[a-z_]+): (.+)$", re.MULTILINE)


@pytest.mark.issue("2.2 the commented sample is the manual, loaded by a test; several pairs")
def test_the_sample_loads_and_shows_several_pairs() -> None:
    inventory = load(SAMPLE)
    assert list(inventory.pairs) == ["example_org", "example_net"]
    org, net = inventory.pairs.values()
    assert (org.primary.address, org.mirror.connection) == ("192.0.2.11", "local")
    assert (net.mirror.stores[0].root, net.primary.stores[0].root) == ("/mnt/mirror/mail", "/srv/mail")
    assert net.not_used == ()
    assert "host vault.example.org (archive)" in org.not_used


@pytest.mark.issue("2.2 every key stands in the sample")
@pytest.mark.parametrize("key", KEYS)
def test_the_sample_names_every_key(key: str) -> None:
    assert re.search(rf"\b{key}:", TEXT), f"{key} doesn't stand in the sample"


def test_the_samples_commented_values_are_the_defaults() -> None:
    shown = dict(COMMENTED.findall(TEXT))
    assert {key: shown[key] for key in shown if key in DEFAULTS} == DEFAULTS


def test_the_defaults_in_words_are_the_defaults_in_effect() -> None:
    bare = read_text(SMALL).inventory.pairs["pair"]
    pair_keys = [f"        {key}: {DEFAULTS[key]}\n" for key in DEFAULTS if key in PairVars.model_fields]
    said = read_text(SMALL.replace("      hosts:\n", "".join(pair_keys) + "      hosts:\n")).inventory.pairs["pair"]
    assert said.not_used == ()
    for name in ("hosts", "rpo", "mode", "cooldown", "owner", "undelete", "delete_budget", "watch", "audit", "verify"):
        assert getattr(said, name) == getattr(bare, name), name


@pytest.mark.issue("2.2 the sample is a valid Ansible inventory")
def test_ansible_reads_the_sample_with_the_same_hosts(tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("ansible-inventory")
    if not program.exists() and os.environ.get("CI") != "true":
        pytest.skip("ansible-core is not installed beside this Python")
    environment = os.environ | {"HOME": str(tmp_path), "ANSIBLE_NOCOLOR": "1"}  # it keeps temporary files at home
    words = [str(program), "-i", str(SAMPLE), "--graph"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.split("\n")[2:-1] == [
        "  |--@mailmirror:",
        "  |  |--@example_org:",
        "  |  |  |--mail1.example.org",
        "  |  |  |--mail2.example.org",
        "  |  |  |--vault.example.org",
        "  |  |  |--wit.example.org",
        "  |  |--@example_net:",
        "  |  |  |--mx.example.net",
        "  |  |  |--copy.example.net",
    ]
    assert "WARNING" not in done.stderr


def test_the_schema_takes_the_sample_and_refuses_what_is_wrong() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not list(validator.iter_errors(yaml.safe_load(TEXT)))
    assert not list(validator.iter_errors(yaml.safe_load(f"all: {{children: {json.dumps(yaml.safe_load(TEXT))}}}")))
    for name in ("an unknown key", "units", "a port out of range", "a pair's key at a host", "not one of the options"):
        text = CASES[name]
        assert isinstance(text, str)
        assert list(validator.iter_errors(yaml.safe_load(text))), name


def test_every_key_of_the_schema_says_what_it_means() -> None:
    definitions = json_schema()["$defs"]
    assert isinstance(definitions, dict)
    for model in ("PairVars", "HostVars"):
        described = definitions[model]
        assert isinstance(described, dict)
        properties = described["properties"]
        assert isinstance(properties, dict)
        for key, entry in properties.items():
            assert isinstance(entry, dict)
            assert entry.get("description"), key


def test_settings_name_each_values_origin() -> None:
    found = {(one.pair, one.host, one.key): (one.value, one.origin) for one in settings(read(SAMPLE))}
    assert found["example_org", "", "mm_bandwidth"] == ("40MB/s", "pair")
    assert found["example_org", "", "mm_rpo"] == ("30s", "default")
    assert found["example_net", "copy.example.net", "ansible_port"] == ("2222", "host")
    assert found["example_net", "mx.example.net", "ansible_user"] == ("mailmirror", "all")
    assert found["example_org", "mail1.example.org", "mm_stores"] == (
        '[/var/vmail, {root: /home, accounts: "*/Maildir"}]',
        "pair",
    )
