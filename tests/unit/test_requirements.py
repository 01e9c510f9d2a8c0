"""A requirement as it is declared: PEP 508, nothing else."""

from __future__ import annotations

import pytest
from pipmirror_lib.requirements import OPTIONS, parse


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("ansible", "ansible"),
        ("  ansible >= 2.9 , < 3 ", "ansible<3,>=2.9"),
        ("molecule[docker, lint]==1.*", "molecule[docker,lint]==1.*"),
        ("pywin32; sys_platform == 'win32'", 'pywin32; sys_platform == "win32"'),
        ("demo===2004d", "demo===2004d"),
        ("demo~=1.4", "demo~=1.4"),
        ("zope.interface", "zope.interface"),
        ("a-b-c", "a-b-c"),
        ("ruamel.yaml.clib!=0.2.8 ; python_version < '3.9' and extra == 'x'", None),
    ],
)
def test_what_is_good(text: str, read: str | None) -> None:
    assert read is None or str(parse(text)) == read


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("demo\nother", "a line break"),
        ("demo\rother", "a line break"),
        ("demo\0", "a NUL"),
        ("demo \\", "a backslash"),
        ("C:\\wheels\\demo", "a backslash"),
        ("demo${VERSION}", "holds '${'"),
        ("x; touch /tmp/pwned", "not a valid requirement"),
        ("x && reboot", "not a valid requirement"),
        ("$(reboot)", "not a valid requirement"),
        ("`reboot`", "not a valid requirement"),
        ("demo | cat", "not a valid requirement"),
        ("-", "pip option"),
        ("-e .", "pip's options are not passed on"),
        ("-rrequirements.txt", "pip option"),
        ("--editable=.", "pip's options are not passed on"),
        ("demo --hash=sha256:00", "not a valid requirement"),
        ("./demo", "is a local path"),
        ("../demo", "is a local path"),
        ("/srv/demo", "is a local path"),
        ("~/demo", "is a local path"),
        ("file:///srv/demo", "is a local path"),
        ("demo-1.0-py3-none-any.whl", "is a local path"),
        ("demo-1.0.tar.gz", "is a local path"),
        ("demo @ file:///srv/demo", "is a local path"),
        ("demo @ ./demo", "is a local path"),
        ("git+file:///srv/demo", "is a local path"),
        ("demo==", "not a valid requirement"),
        ("demo 1.0", "not a valid requirement"),
        ("dëmo", "not a valid requirement"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("text", ["{} x", "demo {} x"])
def test_an_option_of_pip_names_the_setting(option: str, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text.format(option))
    assert OPTIONS[option] in str(caught.value)


def test_a_secret_in_a_refused_url_is_not_told() -> None:
    for text in ("https://me:hunter2@files.invalid/demo.exe", "demo @ hg+https://me:hunter2@hg.invalid/demo"):
        with pytest.raises(ValueError) as caught:
            parse(text)
        assert "hunter2" not in str(caught.value)
