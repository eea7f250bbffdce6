#!/bin/sh
# Checks that independent readers find in what wtinspect wrote the tensors of
# the original under their new names: names, types, shapes and bytes.
#
#   npm  @huggingface/gguf, @huggingface/hub   what the Hub shows of a file
#   Go   gpustack/gguf-parser-go               what GPUStack reads GGUF with
#   Go   nlpodyssey/safetensors                a port of the reference reader
#
# Then a converter that shares nothing with wtinspect, that of
#
#   Go   ollama/ollama
#
# converts a small checkpoint of every architecture it knows, and wtinspect has to
# say what both are, that they have the same weights, and make the same itself.
#
# And what cat prints and writes of random arrays is what NumPy does; what convert rounds
# and dequantises is what NumPy rounds, and what published formulas give in it.
#
# And package pytorch reads what torch wrote, every dtype, protocol and container, and package checkpoint
# its distributed checkpoints.
#
# And what the npm packages read of a hub over HTTP, that of the tests, is what
# `wtinspect ls hf://` reads of it.
#
# And Chromium opens what `wtinspect report` writes: it asks for nothing, logs nothing, and
# axe and html-validate find nothing wrong.
#
# And DuckDB reads the tables of `wtinspect scan`: they have what ls, check and hash say of the same
# releases, and the queries of docs/scan.md run.
#
# They are installed into a temporary directory. Where npm, NumPy, torch, or the network, is
# missing their checks are skipped, and said to be.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

wt=$tmp/wtinspect
(cd "$root" && CGO_ENABLED=0 go build -o "$wt" ./cmd/wtinspect)

readers=
if (cd "$here/go" && go build -o "$tmp/readers" .) 2>"$tmp/log"; then
	readers="$readers go"
else
	echo "SKIP: the Go readers could not be built: $(tail -n 1 "$tmp/log")"
fi
if ! command -v npm >/dev/null || ! command -v node >/dev/null; then
	echo "SKIP: npm or node is missing"
elif cp "$here/package.json" "$here/read.mjs" "$here/remote.mjs" "$tmp" &&
	(cd "$tmp" && npm install --no-audit --no-fund --ignore-scripts --silent) >"$tmp/log" 2>&1; then
	readers="$readers npm"
else
	echo "SKIP: the npm readers could not be installed: $(tail -n 1 "$tmp/log")"
fi

# tensors READER PATH: a line of name, type, shape and SHA-256 for each tensor.
tensors() {
	case $1 in
	go) "$tmp/readers" "$2" ;;
	npm) node "$tmp/read.mjs" "$2" ;;
	esac | LC_ALL=C sort
}

passed=0 failed=0

# same WHAT ORIGINAL PLAN RESULT: the result has the tensors of the original
# under the names that the plan, in TSV, gives them.
same() {
	for reader in $readers; do
		tensors "$reader" "$2" | awk -F '\t' -v OFS='\t' -v plan="$3" '
			BEGIN {
				while ((getline line < plan) > 0) {
					split(line, f, "\t")
					action[f[1]] = f[3]
					name[f[1]] = f[2]
				}
			}
			action[$1] == "drop" { next }
			action[$1] == "move" { $1 = name[$1] }
			{ print }' | LC_ALL=C sort >"$tmp/want"
		tensors "$reader" "$4" >"$tmp/got"
		if [ -s "$tmp/want" ] && diff "$tmp/want" "$tmp/got"; then
			passed=$((passed + 1))
		else
			echo "FAIL: $1, read by $reader"
			failed=$((failed + 1))
		fi
	done
}

quiet() { "$@" >"$tmp/log" 2>&1 || { cat "$tmp/log"; exit 1; }; }

: >"$tmp/unchanged.tsv"

# check KIND ORIGINAL NAME MAP: every way to write a release, or a file.
check() {
	kind=$1 original=$2 name=$3 map=$4
	w=$tmp/$kind
	mkdir "$w"
	cp -R "$original" "$w/$name"
	"$wt" rename -q --map "$map" -f tsv "$w/$name" >"$w/there.tsv"

	quiet "$wt" rename --map "$map" --in-place --write-inverse "$w/back.yaml" "$w/$name"
	same "$kind in place" "$original" "$w/there.tsv" "$w/$name"

	quiet "$wt" rename --map "$w/back.yaml" --in-place "$w/$name"
	same "$kind there and back" "$original" "$tmp/unchanged.tsv" "$w/$name"

	quiet "$wt" rename --map "$map" -o "$w/copy-$name" "$original"
	same "$kind copied" "$original" "$w/there.tsv" "$w/copy-$name"

	quiet "$wt" rename --map "$map" --headroom 10000 -o "$w/roomy-$name" "$original"
	same "$kind with headroom" "$original" "$w/there.tsv" "$w/roomy-$name"

	quiet "$wt" meta set "$w/$name" --in-place "note=$(printf '%5000s' x)" general.name=mine
	same "$kind with longer metadata" "$original" "$tmp/unchanged.tsv" "$w/$name"

	quiet "$wt" meta unset "$w/$name" --in-place note
	same "$kind with shorter metadata" "$original" "$tmp/unchanged.tsv" "$w/$name"

	printf 'rules:\n  - {from: "{a...}.0.{b...}", drop: for the test}\n' >"$w/drop.yaml"
	"$wt" rename -q --map "$w/drop.yaml" -f tsv "$w/$name" >"$w/drop.tsv"
	quiet "$wt" rename --map "$w/drop.yaml" --in-place "$w/$name"
	same "$kind with tensors dropped" "$original" "$w/drop.tsv" "$w/$name"
}

check safetensors "$root/testdata/yi-tiny" yi-tiny "$root/testdata/llama.yaml"
check gguf "$root/testdata/llama-tiny.gguf" tiny.gguf "$here/layers.yaml"

if (cd "$here/go" && go build -o "$tmp/oracle" ./oracle) 2>"$tmp/log"; then
	mkdir "$tmp/pairs"
	if "$tmp/oracle" "$wt" "$tmp/pairs"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
else
	echo "SKIP: the other converter could not be built: $(tail -n 1 "$tmp/log")"
fi

python=
for p in python3 /usr/bin/python3; do
	if "$p" -c 'import numpy' 2>/dev/null; then
		python=$p
		break
	fi
done
if [ -z "$python" ]; then
	echo "SKIP: NumPy is missing"
else
	for script in cat casts; do
		if PYTHONDONTWRITEBYTECODE=1 "$python" "$here/$script.py" "$wt" "$tmp"; then
			passed=$((passed + 1))
		else
			failed=$((failed + 1))
		fi
	done
fi

torch=
for p in python3 /usr/bin/python3; do
	if "$p" -c 'import torch' 2>/dev/null; then
		torch=$p
		break
	fi
done
if [ -z "$torch" ]; then
	echo "SKIP: torch is missing"
elif "$torch" "$here/torch_files.py" "$tmp/torch" && "$torch" "$here/dcp_files.py" "$tmp/torch" &&
	(cd "$root" && WTINSPECT_TORCH=$tmp/torch go test -count=1 -run='TestFilesOfTorch|TestDistributedOfTorch' ./pytorch ./checkpoint); then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
fi

# remote WHAT FILE FILE: both readers found the same, and something.
remote() {
	if [ -s "$2" ] && diff "$2" "$3"; then
		passed=$((passed + 1))
	else
		echo "FAIL: $1, read of a hub"
		failed=$((failed + 1))
	fi
}

case $readers in
*npm*)
	mkdir "$tmp/gguf-repo"
	cp "$root/testdata/llama-tiny.gguf" "$tmp/gguf-repo/tiny.gguf"
	(cd "$root" && go build -o "$tmp/hub" ./testdata/interop/hub)
	mkfifo "$tmp/stop" "$tmp/address"
	"$tmp/hub" "local/yi=$root/testdata/yi-tiny" "local/gguf=$tmp/gguf-repo" <"$tmp/stop" >"$tmp/address" &
	exec 3>"$tmp/stop"
	read -r hub <"$tmp/address"
	# ls COLUMNS REF: what wtinspect lists.
	list() {
		HF_ENDPOINT=$hub HF_HOME=$tmp/none "$wt" ls --no-cache -f tsv --columns "$1" "hf://$2" | tail -n +2 | LC_ALL=C sort
	}
	node "$tmp/remote.mjs" safetensors "$hub" local/yi | LC_ALL=C sort >"$tmp/want"
	list name,dtype,shape local/yi >"$tmp/got"
	remote "tensors of shards" "$tmp/want" "$tmp/got"
	node "$tmp/remote.mjs" gguf "$hub" local/gguf tiny.gguf | LC_ALL=C sort >"$tmp/want"
	HF_ENDPOINT=$hub HF_HOME=$tmp/none "$wt" ls --no-cache -f tsv --dims ggml --columns name,dtype,dims hf://local/gguf/tiny.gguf |
		tail -n +2 | LC_ALL=C sort >"$tmp/got"
	remote "tensors of GGUF" "$tmp/want" "$tmp/got"
	node "$tmp/remote.mjs" files "$hub" local/yi | LC_ALL=C sort >"$tmp/got"
	(cd "$root/testdata/yi-tiny" && find . -type f | while read -r f; do
		case $f in
		*.safetensors) sum=$(sha256sum "$f" | cut -d ' ' -f 1) ;;
		*) sum= ;;
		esac
		printf '%s\t%s\t%s\n' "${f#./}" "$(wc -c <"$f" | tr -d ' ')" "$sum"
	done) | LC_ALL=C sort >"$tmp/want"
	remote "files" "$tmp/want" "$tmp/got"
	exec 3>&-
	;;
esac

# What `wtinspect report` writes, in a browser. SHOTS is where the screenshots stay.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome || command -v chromium-headless-shell || :)
if [ -z "$browser" ] || ! command -v npm >/dev/null; then
	echo "SKIP: Chromium, or npm, is missing"
elif mkdir "$tmp/report" && cp "$here/report/package.json" "$here/report/report.mjs" "$tmp/report" &&
	(cd "$tmp/report" && npm install --no-audit --no-fund --ignore-scripts --silent) >"$tmp/log" 2>&1; then
	shots=${SHOTS:-$tmp/shots}
	mkdir -p "$shots"
	if node "$tmp/report/report.mjs" "$wt" "$browser" "$shots"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
else
	echo "SKIP: what tries pages could not be installed: $(tail -n 1 "$tmp/log")"
fi

# What `wtinspect scan` writes, in DuckDB.
if ! command -v npm >/dev/null; then
	echo "SKIP: npm is missing"
elif mkdir "$tmp/scan" && cp "$here/scan/package.json" "$here/scan/scan.mjs" "$tmp/scan" &&
	(cd "$tmp/scan" && npm install --no-audit --no-fund --silent) >"$tmp/log" 2>&1; then
	(cd "$root" && CGO_ENABLED=0 go build -tags parquet -o "$wt-parquet" ./cmd/wtinspect)
	many=$tmp/releases
	mkdir "$many"
	cp -R "$root/testdata/yi-tiny" "$many/yi"
	cp -R "$root/testdata/yi-tiny" "$many/copy"
	cp -R "$root/testdata/yi-tiny" "$many/broken"
	rm "$many/broken/$(cd "$many/broken" && ls ./*.safetensors | head -n 1)"
	mkdir "$many/gguf" && cp "$root/testdata/llama-tiny.gguf" "$many/gguf"
	printf 'rules:\n  - {from: "{n...}", to: "_orig_mod.{n}"}\n' >"$tmp/wrap.yaml"
	quiet "$wt" rename --map "$tmp/wrap.yaml" -o "$many/wrapped" "$root/testdata/yi-tiny"
	if node "$tmp/scan/scan.mjs" "$wt" "$many" "$root/docs/scan.md" "$tmp/tables"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
	fi
else
	echo "SKIP: DuckDB could not be installed: $(tail -n 1 "$tmp/log")"
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
