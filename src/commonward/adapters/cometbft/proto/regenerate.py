"""Makes the `*_pb2.py` files beside it from CometBFT's own definitions. For developers; nothing imports it.

    python -m venv /tmp/pb && /tmp/pb/bin/pip install grpcio-tools==1.76.0
    /tmp/pb/bin/python src/commonward/adapters/cometbft/proto/regenerate.py OLDER_PROTO_FOLDER NEWER_PROTO_FOLDER

The folders are the `proto/` of CometBFT's sources in two versions (0.38.25 and 0.39.4 now; `go install` leaves them in
Go's module folder). The newer definitions are used, after checking that each field of the older has the same number
and type there: one set of classes then serves both. gogoproto options only steer Go's generator and are taken out,
those that run over several lines too, so that gogoproto itself is not needed.
"""

import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

# CometBFT's file -> our module.
FILES = {
    "tendermint/abci/types.proto": "abci",
    "tendermint/crypto/keys.proto": "keys",
    "tendermint/crypto/proof.proto": "proof",
    "tendermint/p2p/types.proto": "p2p",
    "tendermint/types/canonical.proto": "canonical",
    "tendermint/types/evidence.proto": "evidence",
    "tendermint/types/params.proto": "params",
    "tendermint/types/types.proto": "types",
    "tendermint/types/validator.proto": "validator",
    "tendermint/version/types.proto": "version",
}
PACKAGE = "commonward/adapters/cometbft/proto"

_OPTION = r"\(gogoproto\.\w+\)\s*=\s*(?:\"[^\"]*\"|\w+)"
_LINE_OPTION = re.compile(rf"^\s*option\s+{_OPTION}\s*;\s*$", re.MULTILINE)
_IN_BRACKETS = re.compile(rf"{_OPTION}\s*,?\s*")
_EMPTY_BRACKETS = re.compile(r"\s*\[\s*\]")
_FIELD = re.compile(r"^\s*((?:repeated\s+)?[\w.]+)\s+(\w+)\s*=\s*(\d+)\s*[;\[]", re.MULTILINE)
_MESSAGE = re.compile(r"^message\s+(\w+)\s*\{(.*?)^\}", re.MULTILINE | re.DOTALL)


def plain(text: str) -> str:
    """A definition without gogoproto, importing its neighbours where ours lie."""
    text = _LINE_OPTION.sub("", text)
    text = _EMPTY_BRACKETS.sub("", _IN_BRACKETS.sub("", text))
    text = re.sub(r",(\s*\])", r"\1", text)
    text = text.replace('import "gogoproto/gogo.proto";\n', "")
    for theirs, ours in FILES.items():
        text = text.replace(f'import "{theirs}";', f'import "{PACKAGE}/{ours}.proto";')
    if "gogoproto" in re.sub(r"//.*", "", text):
        raise SystemExit("an option of gogoproto was not understood:\n" + text[:2000])
    return text


def fields(text: str) -> dict[tuple[str, str], tuple[str, str]]:
    """(message, field) -> (type, number)."""
    return {
        (message, name): (" ".join(kind.split()), number)
        for message, body in _MESSAGE.findall(text)
        for kind, name, number in _FIELD.findall(body)
    }


def main(older: Path, newer: Path) -> None:
    with TemporaryDirectory() as scratch:
        folder = Path(scratch) / PACKAGE
        folder.mkdir(parents=True)
        for theirs, ours in FILES.items():
            was, now = plain((older / theirs).read_text()), plain((newer / theirs).read_text())
            has = fields(now)
            for field, said in fields(was).items():
                if has.get(field) != said:
                    raise SystemExit(f"{theirs}: {field} is {said} in {older}, {has.get(field)} in {newer}")
            (folder / f"{ours}.proto").write_text(now)
        subprocess.run(  # noqa: S603 - our own arguments
            [
                sys.executable, "-m", "grpc_tools.protoc", f"-I{scratch}", f"--python_out={scratch}",
                f"--pyi_out={scratch}", *(f"{PACKAGE}/{ours}.proto" for ours in FILES.values()),
            ],
            check=True,
        )  # fmt: skip
        for made in sorted(folder.glob("*_pb2.py*")):
            (Path(__file__).parent / made.name).write_text(made.read_text())
            print(made.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
