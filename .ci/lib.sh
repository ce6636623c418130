# Shared by .ci/run and .ci/slow: steps with a clock, tools that are installed when they are missing, the vectors.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
deny_version=0.20.2
fuzz_version=0.13.2
export CARGO_TERM_COLOR=${CARGO_TERM_COLOR:-never}
# Tests that find a tool missing fail instead of skipping.
export CAUSEWAY_CI=1

# step TITLE COMMAND…: runs it, says how long it took, ends everything when it fails.
step() {
    local title=$1 began=$SECONDS
    shift
    printf '\n== %s\n' "$title"
    if "$@"; then
        printf '== %s: ok, %d s\n' "$title" $((SECONDS - began))
    else
        printf '== %s: FAILED after %d s\n' "$title" $((SECONDS - began))
        exit 1
    fi
}

# Programs that some tests compare us with, and the compiler of libFuzzer; package names are Debian's.
tools() {
    local missing=() pair
    for pair in xmlsec1:xmlsec1 xmllint:libxml2-utils strace:strace openssl:openssl gpg:gnupg c++:g++; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        echo "missing: ${missing[*]} (install them; they are installed here when this runs as root on Debian)"
        return 1
    fi
    apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y --no-install-recommends "${missing[@]}"
}

# cargo-deny, in the version this repository was checked with, kept beside the build output.
cargo_deny() {
    PATH=$target/ci-tools/bin:$PATH
    case $(cargo-deny --version 2>/dev/null) in
        *" $deny_version") return ;;
    esac
    cargo install --quiet --locked --debug cargo-deny --version "$deny_version" --root "$target/ci-tools"
}

# cargo-fuzz, likewise; `.ci/fuzz` says how it is run.
cargo_fuzz() {
    PATH=$target/ci-tools/bin:$PATH
    case $(cargo-fuzz --version 2>/dev/null) in
        *" $fuzz_version") return ;;
    esac
    cargo install --quiet --locked --debug cargo-fuzz --version "$fuzz_version" --root "$target/ci-tools"
}

# The conformance vectors: a run without them is no evidence, so it has to be asked for.
vectors() {
    local found=${CAUSEWAY_VECTORS:-$PWD/../shared/vectors}
    if [ -d "$found" ]; then
        CAUSEWAY_VECTORS=$(cd "$found" && pwd)
        export CAUSEWAY_VECTORS
        echo "vectors: $CAUSEWAY_VECTORS"
    elif [ -n "${CAUSEWAY_NO_VECTORS:-}" ]; then
        echo "vectors: none, as asked; this run is no evidence of conformance"
    else
        echo "no vectors at $found: set CAUSEWAY_VECTORS, or CAUSEWAY_NO_VECTORS=1 to run without"
        return 1
    fi
}
