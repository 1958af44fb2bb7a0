"""Print what pip would install, with the SHA-256 of every file, as a requirements file for ``--require-hashes``.

``deploy/Dockerfile`` runs it: ``python lock.py`` and the arguments of a ``pip install``.
"""

import json
import subprocess
import sys
import tempfile


def main() -> None:
    """Resolve, install nothing; the project itself, a folder, has no hash and is left out."""
    with tempfile.NamedTemporaryFile() as report:
        resolve = ["install", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--report", report.name]
        subprocess.run([sys.executable, "-m", "pip", *resolve, *sys.argv[1:]], check=True, stdout=sys.stderr)
        found = json.load(report)["install"]
    for one in sorted(found, key=lambda one: one["metadata"]["name"].lower()):
        if "archive_info" in one["download_info"]:
            digest = one["download_info"]["archive_info"]["hashes"]["sha256"]
            print(f"{one['metadata']['name']}=={one['metadata']['version']} --hash=sha256:{digest}")


if __name__ == "__main__":
    main()
