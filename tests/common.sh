# What tests/run and tests/campaign share: private servers, their installation where it is allowed, and leaving nothing behind.
# Sourced from the root of the repository; `me` is the name of the command.
# shellcheck shell=bash

# The script that reads this says its name.
# shellcheck disable=SC2154
say() { echo "$me: $*"; }

# The comment at the head of a command is its manual.
manual() { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"; }

command -v cargo >/dev/null || { echo "$me: cargo is not on PATH; install Rust from https://rustup.rs" >&2; exit 69; }

folder=""
child=""

clean_up() {
    local status=$?
    trap '' INT TERM HUP
    trap - EXIT
    if [[ -n $child ]] && kill -TERM "$child" 2>/dev/null; then
        # `timeout` leads a group of its own: cargo, the tests, and every hookweir that they started.
        for _ in {1..50}; do kill -0 -- "-$child" 2>/dev/null || break; sleep 0.1; done
    fi
    [[ -z $child ]] || kill -KILL -- "-$child" 2>/dev/null || true
    if [[ -n $folder ]]; then
        wait # for servers that are just starting
        tests/servers stop-all "$folder" || true
        # A disk of a server's own, if the row that made it was cut short.
        awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/mounts | xargs -r umount
        rm -rf "$folder"
    fi
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Runs a command so that a signal to this script is acted on at once, not when the command ends.
await() {
    local limit=$1
    shift
    timeout --kill-after=20 "$limit" "$@" &
    child=$!
    local status=0
    wait "$child" || status=$?
    # What the command may have left behind.
    kill -KILL -- "-$child" 2>/dev/null || true
    child=""
    return "$status"
}

# The packages whose programs are missing; a command that needs others says so.
missing_packages() { tests/servers missing; }

# Debian starts services when it installs them, unless a policy says no. An administrator's own policy is left as it is.
install() {
    local policy=/usr/sbin/policy-rc.d missing apt
    # One installation at a time; whoever comes second finds everything there.
    exec 9>/run/lock/hookweir-tests-install
    flock 9
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\n# Written by the tests of Hookweir while it installs packages; removed afterwards.\nexit 101\n' >$policy
        chmod 755 $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
    # A mirror that stands still must not use up the time of all that follows.
    timeout --foreground 300 "${apt[@]}" update && timeout --foreground 600 "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
}

install_missing() {
    local missing command
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    command="apt-get update && apt-get install -y --no-install-recommends ${missing[*]}"
    if ((EUID != 0)) || ! command -v apt-get >/dev/null; then
        echo "$me: these packages are missing: ${missing[*]}" >&2
        echo "$me: an administrator installs them with: $command" >&2
        echo "$me: without them, tests/run --embedded runs the tests that need no server" >&2
        exit 69
    fi
    say "installing ${missing[*]}"
    # In a shell of its own, so that what it changes is undone however it ends.
    (install) || { echo "$me: could not install; try: $command" >&2; exit 69; }
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]} == 0)) || { echo "$me: installed, yet not found: ${missing[*]}" >&2; exit 69; }
}

# Installs what tests/servers needs for KIND, where that is allowed.
install_for() {
    local kind=$1 missing
    mapfile -t missing < <(tests/servers missing "$kind")
    if ((${#missing[@]})) && ((EUID == 0)) && command -v apt-get >/dev/null; then
        say "installing ${missing[*]}"
        (missing_packages() { tests/servers missing "$kind"; } && install) || say "could not install ${missing[*]}"
    fi
}

# Each of these makes something ready: Kafka, Iceberg's REST catalog, Apache Spark, whose jars HOOKWEIR_TEST_SPARK names then, and a
# browser with its driver. Each fails where that cannot be had, and says why: that is no mistake of the tests.
prepare_kafka() {
    install_for kafka
    tests/servers fetch kafka
}

prepare_rest() {
    install_for rest
    tests/servers fetch rest
}

prepare_spark() {
    install_for spark
    HOOKWEIR_TEST_SPARK=$(tests/servers fetch spark) || return 1
    export HOOKWEIR_TEST_SPARK
}

prepare_browser() {
    local missing
    install_for browser
    mapfile -t missing < <(tests/servers missing browser)
    ((${#missing[@]} == 0)) || { say "no browser here: these packages are missing: ${missing[*]}"; return 1; }
}

# Installs DuckDB and pyiceberg, which read the lakehouse's table, and moto, an S3-compatible store, from PyPI, once; later runs need no network. Fails where they cannot be had,
# and says why: that is no mistake of the tests.
prepare_readers() {
    # The newest version for which DuckDB's extensions are on PyPI.
    local pins=(duckdb==1.5.5 duckdb-cli==1.5.5 duckdb-extension-iceberg==1.5.5 duckdb-extension-avro==1.5.5 "pyiceberg[sql-sqlite,pyarrow]==0.12.0" "moto[s3,server]==5.2.1")
    local cache=${HOOKWEIR_TEST_CACHE:-${XDG_CACHE_HOME:-${HOME:-/tmp}/.cache}/hookweir-tests}/readers status=0
    mkdir -p "$cache"
    # One installation at a time; the second one finds everything there.
    exec 8>"$cache/lock"
    flock 8
    [[ $(cat "$cache/installed" 2>/dev/null) == "${pins[*]}" ]] || install_readers "$cache" "${pins[@]}" || status=1
    flock -u 8
    ((status == 0)) || { say "DuckDB, pyiceberg and moto cannot be installed; $cache/pip.log says why"; return 1; }
    export HOOKWEIR_LAKE_READERS=$cache/venv/bin/python
}

# Installs the packages `$2…` into `$1`. DuckDB's own program finds its extensions in the home `$1/home`.
install_readers() {
    local cache=$1 extensions
    shift
    $embedded && return 1
    say "installing $*"
    rm -rf "${cache:?}/venv" "${cache:?}/home" "${cache:?}/installed"
    python3 -m venv "$cache/venv" >"$cache/pip.log" 2>&1 || return 1
    timeout --foreground 300 "$cache/venv/bin/pip" install --quiet --disable-pip-version-check "$@" >>"$cache/pip.log" 2>&1 || return 1
    extensions=$cache/home/.duckdb/extensions/v1.5.5/$("$cache/venv/bin/duckdb" -noheader -list -c "PRAGMA platform") || return 1
    mkdir -p "$extensions"
    find "$cache/venv" -name '*.duckdb_extension' -exec cp {} "$extensions" \;
    echo "$*" >"$cache/installed"
}

raise_limits() {
    # Some tests open thousands of connections. Not without bound: Erlang closes every descriptor that it might have, one by one.
    local hard
    hard=$(ulimit -Hn)
    [[ $hard != unlimited ]] && ((hard < 16384)) || hard=16384
    ulimit -Sn "$hard"
}

make_folder() {
    # The service refuses a store in memory, as it should.
    case $(stat -f -c %T "${TMPDIR:-/tmp}") in
    tmpfs | ramfs) mkdir -p target/tmp && TMPDIR=$PWD/target/tmp ;;
    esac
    folder=$(mktemp -d "${TMPDIR:-/tmp}/hookweir-tests.XXXXXX")
    # PostgreSQL runs as another user where we are root, and has to get through.
    chmod 711 "$folder"
    export HOOKWEIR_TEST_FOLDER=$folder TMPDIR=$folder
}
