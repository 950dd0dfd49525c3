# The commands of runbook.md, for bash: source it, and say what runs here.
#
#     . deploy/runbook.sh up .daybook      # what `daybook up` started over this data directory
#     . deploy/runbook.sh compose          # deploy/compose.yaml, from the root of the repository
#
#   daybook …            the command, with the addresses of this deployment; DAYBOOK_TOKEN is a key where keys are asked for
#   call METHOD PATH [JSON]   a request to the API
#   page SERVICE PATH    what a service says of itself: readyz, livez, metrics
#   shown NAME           a metric, on every service
#   sql STATEMENT        to Postgres          redis …  to Redis, as redis-cli has it
#   said SERVICE         its newest lines     again SERVICE  stops it, drained, and starts it again
case "$1" in
up)
    export DAYBOOK_DATA_DIR="${2:-.daybook}"
    _told() { python3 -c 'import json, os, sys
told = json.load(open(os.path.join(os.environ["DAYBOOK_DATA_DIR"], "endpoints.json")))
for name in sys.argv[1:]: told = told[name]
print(told)' "$@"; }
    daybook() { command daybook "$@"; }
    call() { _call "$(_told api)" "$@"; }
    page() { curl -s "$(_told services "$1" ops)/$2"; }
    shown() { for _each in api timer executor projector; do
        page "$_each" metrics | grep "^$1" | sed "s/^/$_each /"; done; }
    sql() { psql "$(_told postgres)" -c "$1"; }
    redis() { # redis-cli can't read an address without a user
        _address="$(_told redis)"; _address="${_address#redis://:}"
        _port="${_address##*:}"
        REDISCLI_AUTH="${_address%%@*}" redis-cli -p "${_port%%/*}" "$@"; }
    said() { echo "\`daybook up\` prints what all services say: search there for \"service\":\"$1\""; }
    again() { kill "$(_told services "$1" pid)"; }
    ;;
compose)
    _compose() { docker compose -f deploy/compose.yaml "$@"; }
    daybook() { _compose exec -T -e DAYBOOK_URL=http://localhost:8080 -e DAYBOOK_TOKEN api daybook "$@"; }
    call() { _call "https://localhost:${HTTPS_PORT:-443}" "$@"; }
    page() { _compose exec -T "$1" python -c 'import sys, urllib.error, urllib.request
port = 8080 if sys.argv[1] == "api" else 9100
try: print(urllib.request.urlopen(f"http://localhost:{port}/{sys.argv[2]}").read().decode())
except urllib.error.HTTPError as answer: print(answer.read().decode())' "$1" "$2"; }
    shown() { _compose exec -T prometheus promtool query instant http://localhost:9090 "{__name__=~\"$1.*\"}"; }
    sql() { _compose exec -T postgres psql -U postgres daybook -c "$1"; }
    redis() { _compose exec -T redis sh -c 'REDISCLI_AUTH="$(cat /secrets/redis/password)" redis-cli "$@"' redis "$@"; }
    said() { _compose logs --tail 200 --no-log-prefix "$1"; }
    again() { _compose restart "$1"; }
    ;;
*)
    echo "say what runs here: . deploy/runbook.sh up [DATA_DIR], or . deploy/runbook.sh compose" >&2
    ;;
esac
_call() {
    curl -sk -X "$2" "$1$3" ${DAYBOOK_TOKEN:+-H "Authorization: Bearer $DAYBOOK_TOKEN"} \
        ${4:+-H "Content-Type: application/json" -d "$4"}
}
