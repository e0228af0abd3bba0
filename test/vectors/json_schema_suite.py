"""Writes test/vectors/json-schema-suite.json: the JSON-Schema-Test-Suite's cases of drafts 7 and 2020-12.

    python test/vectors/json_schema_suite.py [ARCHIVE]

Reads the suite from the source archive of jsonschema 4.26.0 (PyPI), which holds it below json/ (MIT,
https://github.com/json-schema-org/JSON-Schema-Test-Suite), and downloads it with pip unless one is named. A case is as the suite has it,
but for the names of its instances and for $schema where it names the draft itself; a case that both
drafts have is written once.
"""

import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.26.0"
DRAFTS = {"draft7": "http://json-schema.org/draft-07/schema#", "draft2020-12": "https://json-schema.org/draft/2020-12/schema"}
HERE = Path(__file__).parent
NAME = re.compile(r"jsonschema-[^/]*/json/tests/(draft7|draft2020-12)/(.*)\.json")


def main() -> None:
    cases: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        if len(sys.argv) < 2:
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
            subprocess.run([*pip, "--dest", folder, f"jsonschema=={VERSION}"], check=True)
        with tarfile.open(sys.argv[1] if len(sys.argv) > 1 else next(Path(folder).glob("*.tar.gz"))) as archive:
            for member in sorted(archive.getmembers(), key=lambda each: each.name):
                found = NAME.fullmatch(member.name)
                if found:
                    draft, file = found.groups()
                    for group in json.load(archive.extractfile(member)):
                        add(cases, draft, file, group)
    path = HERE / "json-schema-suite.json"
    lines = ",\n".join(json.dumps(case, ensure_ascii=False, separators=(",", ":")) for case in cases.values())
    head = {"magic": "foretoken-golden", "version": 1, "kind": "json-schema-suite", "made_by": "python test/vectors/json_schema_suite.py"}
    head["source"] = f"the JSON-Schema-Test-Suite (MIT) of jsonschema {VERSION}"
    path.write_text(f'{json.dumps(head)[:-1]}, "cases": [\n{lines}\n]}}\n')
    print(path.name, path.stat().st_size, "bytes,", len(cases), "cases")


def add(cases: dict[str, dict], draft: str, file: str, group: dict) -> None:
    schema = group["schema"]
    if isinstance(schema, dict) and schema.get("$schema") == DRAFTS[draft]:
        schema = {name: value for name, value in schema.items() if name != "$schema"}
    valid = [each["data"] for each in group["tests"] if each["valid"]]
    invalid = [each["data"] for each in group["tests"] if not each["valid"]]
    case = {"file": file, "about": group["description"], "schema": schema, "valid": valid, "invalid": invalid}
    key = json.dumps(case)
    cases.setdefault(key, {"drafts": [], **case})["drafts"].append(draft)


if __name__ == "__main__":
    main()
