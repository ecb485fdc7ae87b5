"""YAML objects on standard input; JSON on standard output: the objects, and what the strict schemas of the
Kubernetes versions named as arguments say against them. A kind without a schema is a problem, not a warning."""

import base64
import json
import sys

import kubernetes_validate
import yaml

objects = [each for each in yaml.safe_load_all(sys.stdin) if each is not None]
problems = []
for each in objects:
    name = f"{each.get('kind')}/{each.get('metadata', {}).get('name')}"
    for version in sys.argv[1:]:
        try:
            used = kubernetes_validate.validate(each, version, strict=True)
            if used != version:
                problems.append(f"{name}: asked for Kubernetes {version}, got the schemas of {used}")
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{name}: {version}: {'.'.join(map(str, error.path))}: {error.message}")
        except Exception as error:  # an unknown kind, no apiVersion, …
            problems.append(f"{name}: {version}: {getattr(error, 'message', None) or repr(error)}")
    if each.get("kind") == "Secret":
        each["stringData"] = {key: base64.b64decode(value).decode() for key, value in each.get("data", {}).items()}
json.dump({"objects": objects, "problems": problems}, sys.stdout)
