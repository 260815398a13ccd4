"""What the help of each command ends with: two examples to type, and what one must know of its arguments."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "recipes": ("wedefense recipes",
                "wedefense recipes copy detection/mini my   # or all"),
    "list": ("wedefense list",
             "wedefense list back-end"),
    "config": ("wedefense config --config conf/mhfa.yaml --explain dataset_args.num_frms",
               "wedefense config --diff conf/mhfa.yaml exp/mhfa"),
    "make_list": ("wedefense make_list --data_dir data/train",
                  "wedefense make_list --data_dir data/train --data_type shard"),
    "segments": ("wedefense segments dev.rttm --data_dir data/dev",
                 "wedefense segments dev_seglab_0.02.npy --to audacity --out marks"),
    "train": ("wedefense train --config conf/mhfa.yaml",
              "wedefense train --config conf/mhfa.yaml --exp_dir exp/seed43 --seed 43"),
    "history": ("wedefense history exp/mhfa",
                "wedefense history exp/mhfa --height 20"),
    "average": ("wedefense average --config exp/mhfa/config.yaml",
                "wedefense average --config exp/mhfa/config.yaml --num_avg 1"),
    "prune": ("wedefense prune --exp_dir exp/mhfa_pruned   # what a pruned training closed",
              "wedefense prune --model exp/mhfa --exp_dir exp/mhfa_cut \\\n"
              "      --target_sparsity 0.3 --num_epochs 2"),
    "adapters": ("wedefense adapters exp/mhfa_lora --peft adapter",
                 "wedefense adapters adapter   # the section of a config that begins as it"),
    "embed": ("wedefense embed --model exp/mhfa clip.wav recordings/ --out embeddings.npz",
              "wedefense embed --exp_dir exp/mhfa --sets dev --data data/dev/raw.list"),
    "logits": ("wedefense logits --exp_dir exp/mhfa --sets dev",
               "wedefense logits --exp_dir exp/mhfa --sets dev eval"),
    "llr": ("wedefense llr --exp_dir exp/mhfa --sets dev",
            "wedefense llr --exp_dir exp/mhfa --sets dev eval"),
    "results": ("wedefense results --exp_dir exp/mhfa --data data --sets dev eval",
                "wedefense results --exp_dir exp/mhfa --data data --sets eval \\\n"
                "      --bootstrap 0 --costs 0.5 1 10"),
    "classify": ("wedefense classify --exp_dir exp/fold1 --data data --sets eval",
                 "wedefense classify --exp_dir exp/folds --average exp/fold1 exp/fold2"),
    "score_trials": ("wedefense score_trials --exp_dir exp/speakers --sets eval --trials trials",
                     "wedefense score_trials --exp_dir exp/speakers --sets eval --trials trials \\\n"
                     "      --cohort train --cohort_spk data/train/utt2spk --norm snorm"),
    "check": ("wedefense check --config exp/mhfa/config.yaml --stage 5 --data data \\\n"
              "      --sets dev eval --train_sets train",
              "wedefense check --config exp/mhfa/config.yaml --stage 3 --data data"),
    "table": ("wedefense table",
              "wedefense table --table xlsr_sls --format latex"),
    "evaluate": ("wedefense evaluate --scores scores.txt --keys utt2lab --bootstrap 1000",
                 "wedefense evaluate --segments 0.02 --scores frames.txt --keys segments"),
    "benchmark": ("wedefense benchmark --model exp/mhfa exp/sls --sets data/dev data/eval \\\n"
                  "      --out bench --fix_on dev",
                  "wedefense benchmark --model exp/mhfa --sets data/eval --out bench2 \\\n"
                  "      --with noise@10dB telephone"),
    "experiments": ("wedefense experiments exp/mhfa exp/seed43   # or exp/*",
                    "wedefense experiments exp/mhfa exp/seed43 --metrics eer min_dcf --format latex"),
    "compare": ("wedefense compare exp/mhfa exp/sls --keys data/eval/utt2lab --html out.html",
                "wedefense compare old.txt new.txt --keys data/eval/utt2lab \\\n"
                "      --groups data/eval/utt2spk"),
    "calibrate": ("wedefense calibrate --dev_scores dev.txt --dev_keys data/dev/utt2lab \\\n"
                  "      --scores new.txt --out llr.txt --model calibration.json",
                  "wedefense calibrate --model calibration.json --scores new.txt --out llr.txt"),
    "fuse": ("wedefense fuse --dev_scores dev.txt dev2.txt --dev_keys data/dev/utt2lab \\\n"
             "      --scores old.txt new.txt --out fused.txt --model fusion.json",
             "wedefense fuse --average --scores old.txt new.txt --out mean.txt"),
    "score": ("wedefense score --model exp/mhfa clip.wav recordings/",
              "wedefense score --model exp/mhfa wav.scp --format csv --out scores.csv"),
    "locate": ("wedefense locate --model exp/mhfa clip.wav --plot pictures",
               "wedefense locate --model exp/mhfa recordings/ --smooth 0.1 --out spans.rttm"),
    "demo": ("wedefense demo --model exp/mhfa",
             "wedefense demo --model exp/mhfa exp/sls --port 8000"),
    "frames": ("wedefense frames --model exp/mhfa clip.wav --out clip_frames.txt",
               "wedefense frames --model exp/mhfa data/eval/wav.scp --out eval_frames.txt"),
    "export": ("wedefense export exp/mhfa --format onnx --int8 --out exported",
               "wedefense export exp/mhfa --format hub --out shared"),
    "push": ("wedefense push exp/mhfa owner/my-detector --license cc-by-4.0",
             "wedefense push exp/mhfa owner/my-detector --branch trial --private"),
    "models": ("wedefense models",
               "wedefense models | head -6"),
    "info": ("wedefense info exp/mhfa",
             "wedefense info data/eval   # or scores, a list, a shard, a config ..."),
    "augment": ("wedefense augment clip.wav heard --config conf/mhfa.yaml \\\n"
                "      --dataset_args.rawboost True",
                "wedefense augment --pack noises noises.tar"),
}

_CONFIG = "Every key of the config is an option too, and comes last: --seed 3 --dataset_args.num_frms 200."
NOTES = dict.fromkeys(("config", "train", "average", "augment", "check"), _CONFIG)
NOTES["prune"] = f"With --model: {_CONFIG[0].lower()}{_CONFIG[1:]}"
NOTES["segments"] = ("Kinds: segments (KEY START END LABEL), rttm, seglab (PartialSpoof's .npy), csv, items (KEY ... "
                     "START-END-LABEL ..., as LlamaPartialSpoof and Half-truth have them), and of one file "
                     "for each utterance vad (START END LABEL), audacity and textgrid (Praat's).")
