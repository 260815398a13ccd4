"""Trees of corpora of one language or of languages alone, as in tests/tools/corpus_trees.py."""

from tests.tools.tree import Tree

LANGUAGE_TREES = {
    "habla": Tree(
        ("FinalDataset_16khz/Real/Peru/pef_00610/pef_00610_1.wav",
         "FinalDataset_16khz/CycleGAN/Peru-Chile/pef_00610-clm_0/x.wav"),
        {"habla": {"Real/Peru/pef_00610/pef_00610_1": "bonafide - pef_00610 es",
                   "CycleGAN/Peru-Chile/pef_00610-clm_0/x": "spoof CycleGAN pef_00610-clm_0 es"}}),
    "j_spaw": Tree(
        ("wav/LA/F001_R1_E2_L1_BT.wav", "wav/ASV/F001_R1_E2_M2_BT.wav", "wav/PA/F001_R1_E2_M3_s1_r1_e1_m1_AA.wav"),
        {"j_spaw_la": {"F001_R1_E2_M2_BT": "bonafide - F001 ja", "F001_R1_E2_L1_BT": "spoof L1 F001 ja"},
         "j_spaw_pa": {"F001_R1_E2_M2_BT": "bonafide . F001 ja", "F001_R1_E2_M3_s1_r1_e1_m1_AA": "spoof . F001 ja"}},
        {"eval-package/metadata_LA.txt": "F001 F001_R1_E2_L1_BT - E2 L1 spoof notrim eval\n"
                                         "F001 F001_R1_E2_M2_BT - E2 bonafide bonafide notrim eval\n",
         "eval-package/metadata_PA.txt":
         "F001 F001_R1_E2_M3_s1_r1_e1_m1_AA R1 M3 E2 r1 m1 s1 e1 spoof notrim eval\n"
         "F001 F001_R1_E2_M2_BT R1 M3 E2 - - - - bonafide notrim eval\n"}),
    "pyara": Tree(
        ("final_dataset/Real/real_12713.wav", "final_dataset/Fake/alg_1_0.wav"),
        {"pyara": {"real_12713": "bonafide - . ru", "alg_1_0": "spoof alg_1 . ru"}},
        {"final_dataset/final_dataset.tsv":
         "path\tsentence\tage\tgender\tfake\talgorithm\tlength\n"
         "Real/real_12713.wav\t\"Да, сказал он\t30\tmale\t0\t\t3.2\nFake/alg_1_0.wav\tНет\t\t\t1\talg_1\t4.1\n"}),
    "lrlspoof": Tree(
        ("lrl_spoof/russian/xtts/1.wav", "lrl_spoof/english/fastpitch/line_59.wav"),
        {"lrlspoof": {"russian/xtts/1.wav": "spoof xtts . russian",
                      "english/fastpitch/line_59.wav": "spoof fastpitch . english"}}),
    "dsd": Tree(
        ("09MKIS0040_12815.wav", "12MWKH0048_000026.wav", "x.wav"),
        {"train": {"09MKIS0040_12815": "bonafide - 09MKIS0040 Korean"}, "dev": {"x": "spoof VITS s English"},
         "eval": {"12MWKH0048_000026": "spoof VITS 12MWKH0048 Korean"}},
        {"DSD_corpus_v1.csv":
         "Utterence name (file name),TTS or VC,Is multi-speaker?,Language,Noise type 1,Source link,utt,group,"
         "Speaker name,Gender,Age,label,Model,subset,duration\n"
         "09MKIS0040_12815.wav,-,No,Korean,-,-,09MKIS0040_12815,AIHUB,09MKIS0040,Male,Adult,bonafide,-,train,6.25\n"
         "x.wav,TTS,No,English,-,-,x,VITS,s,Male,Adult,spoof,VITS,dev,1\n"
         "12MWKH0048_000026.wav,TTS,No,Korean,-,-,12MWKH0048_000026,VITS-AIHUB,12MWKH0048,Male,Adult,spoof,VITS,eval,"
         "1.552\n"}),
    "banglafake": Tree(
        ("final_data/deepfake_data_sust/real_wav/01001.wav", "final_data/deepfake_data_sust/deepfake_wav/1001.wav",
         "final_data/deepfake_data_mozilla/deepfake_wav/common_voice_s2_7.wav",
         "final_data/deepfake_data_news/real_wav/3.wav"),
        {"banglafake": {"deepfake_data_sust/real_wav/01001": "bonafide - . bn",
                        "deepfake_data_sust/deepfake_wav/1001": "spoof VITS . bn",
                        "deepfake_data_mozilla/deepfake_wav/common_voice_s2_7": "spoof VITS . bn",
                        "deepfake_data_news/real_wav/3": "bonafide - . bn"}},
        {"final_data/deepfake_data_sust/metadata.csv": "filename|text\n"}),
    "csalt_urdu": Tree(
        ("Bonafide/Speaker_01/Part 1/7.wav", "Bonafide/Speaker_01/Part 2/7.wav", "Spoofed_TTS/Speaker_01/7.wav",
         "Spoofed_Tacotron/Speaker_02/9.wav", "Other/Speaker_01/7.wav"),
        {"csalt_urdu": {"Bonafide/Speaker_01/Part_1/7": "bonafide - Speaker_01 ur",
                        "Bonafide/Speaker_01/Part_2/7": "bonafide - Speaker_01 ur",
                        "Spoofed_TTS/Speaker_01/7": "spoof Spoofed_TTS Speaker_01 ur",
                        "Spoofed_Tacotron/Speaker_02/9": "spoof Spoofed_Tacotron Speaker_02 ur"}}),
    "audiospoof": Tree(
        ("AudioSpoof/wav/train/5_541/5_541_1.wav", "AudioSpoof/wav/train-F5TTS/5_541/5_541_1.wav",
         "AudioSpoof/wav/dev/5_542/5_542_1.wav", "AudioSpoof/wav/dev-sparktts/5_542/5_542_1.wav",
         "AudioSpoof/wav/test/5_543/5_543_1.wav", "AudioSpoof/wav/test-cosyvoice/5_543/5_543_1.wav"),
        {"train": {"wav/train/5_541/5_541_1": "bonafide - 5_541 zh",
                   "wav/train-F5TTS/5_541/5_541_1": "spoof F5TTS 5_541 zh"},
         "dev": {"wav/dev/5_542/5_542_1": "bonafide - 5_542 zh",
                 "wav/dev-sparktts/5_542/5_542_1": "spoof sparktts 5_542 zh"},
         "eval": {"wav/test/5_543/5_543_1": "bonafide - 5_543 zh",
                  "wav/test-cosyvoice/5_543/5_543_1": "spoof cosyvoice 5_543 zh"}}),
}
