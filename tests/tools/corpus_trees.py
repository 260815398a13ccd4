"""Trees in the official layouts of public corpora, a few files each, and what must be read from them.

Written from the pages and readers that tools/layouts.yaml names, not from its rows.
"""

from tests.tools.language_trees import LANGUAGE_TREES
from tests.tools.tree import Tree

PA19 = "PA/ASVspoof2019_PA_cm_protocols/ASVspoof2019.PA.cm"
TREES = {
    **LANGUAGE_TREES,
    "asvspoof2017": Tree(
        tuple(f"DS_10283_3055/ASVspoof2017_V2_{name}.wav" for name in (
            "train/T_1000001", "train/T_1001508", "dev/D_1000001", "eval/E_1000001")),
        {"train": {"T_1000001": "bonafide . M0002 .", "T_1001508": "spoof . M0008 ."},
         "dev": {"D_1000001": "bonafide . M0012 ."}, "eval": {"E_1000001": "spoof . M0020 ."}},
        {f"DS_10283_3055/protocol_V2/ASVspoof2017_V2_{name}.txt": text for name, text in (
            ("train.trn", "T_1000001.wav genuine M0002 S02 - - -\nT_1001508.wav spoof M0008 S05 E03 P05 R07\n"),
            ("dev.trl", "D_1000001.wav genuine M0012 S01 - - -\n"),
            ("eval.trl", "E_1000001.wav spoof M0020 S10 E20 P12 R14\n"))}),
    "asvspoof2015": Tree(
        ("wav/D4/D4_1000001.wav", "wav/D4/D4_1000002.wav", "wav/D11/D11_1000003.wav", "wav/E1/E1_1000004.wav"),
        {"train": {"D4_1000001": "bonafide - D4 .", "D4_1000002": "spoof S1 D4 ."},
         "dev": {"D11_1000003": "spoof S5 D11 ."}, "eval": {"E1_1000004": "spoof S10 E1 ."}},
        {"CM_protocol/cm_train.trn": "D4 D4_1000001 human human\nD4 D4_1000002 S1 spoof\n",
         "CM_protocol/cm_develop.ndx": "D11 D11_1000003 S5 spoof\n",
         "CM_protocol/cm_evaluation.ndx": "E1 E1_1000004 S10 spoof\n"}),
    "asvspoof2019_pa": Tree(
        ("PA/ASVspoof2019_PA_train/flac/PA_T_0000001.flac", "PA/ASVspoof2019_PA_dev/flac/PA_D_0000001.flac",
         "PA/ASVspoof2019_PA_eval/flac/PA_E_0000001.flac"),
        {"train": {"PA_T_0000001": "bonafide - PA_0079 ."}, "dev": {"PA_D_0000001": "spoof AA PA_0069 ."},
         "eval": {"PA_E_0000001": "spoof BC PA_0012 ."}},
        {f"{PA19}.train.trn.txt": "PA_0079 PA_T_0000001 aaa - bonafide\n",
         f"{PA19}.dev.trl.txt": "PA_0069 PA_D_0000001 abc AA spoof\n",
         f"{PA19}.eval.trl.txt": "PA_0012 PA_E_0000001 ccc BC spoof\n"}),
    "asvspoof2021_pa": Tree(
        ("ASVspoof2021_PA_eval/flac/PA_E_1000001.flac", "ASVspoof2021_PA_eval/flac/PA_E_1000002.flac"),
        {"asvspoof2021_pa": {"PA_E_1000001": "spoof . PA_0010 ."}},
        {"keys/PA/CM/trial_metadata.txt": "PA_0010 PA_E_1000001 R3 M3 d4 r1 m1 s4 c4 spoof notrim eval\n"
                                          "PA_0010 PA_E_1000002 R3 M3 d4 - - - - bonafide notrim progress\n"}),
    "add2022": Tree(
        ("ADD_train_dev/train/ADD_T_00000000.wav", "ADD_train_dev/train/ADD_T_00000001.wav",
         "track1adp_out/ADD_A1_00000000.wav", "track1test/ADD_E1_00000000.wav", "track3test/ADD_E3_00000000.wav"),
        {"train": {"ADD_T_00000000": "bonafide . . zh", "ADD_T_00000001": "spoof . . zh"},
         "add2022_track1_adaptation": {"ADD_A1_00000000": "spoof . . zh"},
         "add2022_track1": {"ADD_E1_00000000": "spoof . . zh"},
         "add2022_track3_r1": {"ADD_E3_00000000": "bonafide . . zh"}},
        {"ADD_train_dev/label/train_label.txt": "ADD_T_00000000.wav genuine\nADD_T_00000001.wav fake\n",
         "track1adp_out/label.txt": "ADD_A1_00000000.wav fake\n", "track1_label.txt": "ADD_E1_00000000.wav fake\n",
         "track3_R1_label.txt": "ADD_E3_00000000.wav genuine\n"}),
    "add2023": Tree(
        ("track1.2/train/wav/ADD2023_T1.2_T_00008971.wav", "track1.2/test/ADD2023_T1.2R1_E_00000000.wav"),
        {"train": {"ADD2023_T1.2_T_00008971": "bonafide . . zh"},
         "add2023_r1": {"ADD2023_T1.2R1_E_00000000": "spoof . . zh"}},
        {"track1.2/train/label.txt": "ADD2023_T1.2_T_00008971.wav genuine\n",
         "track1.2/test/label.txt": "ADD2023_T1.2R1_E_00000000.wav fake\n"}),
    "mlaad": Tree(
        ("fake/de/facebook_mms-tts-deu/x_01_f000068.wav", "fake/ja/kokoro/y.wav",
         "real/de_DE/by_book/female/eva_k/grune/wavs/x_01_f000068.wav"),
        {"mlaad": {"fake/de/facebook_mms-tts-deu/x_01_f000068": "spoof facebook_mms-tts-deu . de",
                   "fake/ja/kokoro/y": "spoof kokoro . ja",
                   "real/de_DE/by_book/female/eva_k/grune/wavs/x_01_f000068": "bonafide . . de_DE"}},
        {"fake/de/facebook_mms-tts-deu/meta.csv":
         "path|original_file|language|is_original_language|duration|training_data|model_name|architecture|transcript\n"
         "./fake/de/facebook_mms-tts-deu/x_01_f000068.wav|de_DE/by_book/female/eva_k/grune/wavs/x_01_f000068.wav|de|True|"
         "1.2|mms|facebook/mms-tts-deu|vits|Er sagte: \"Nun\n",
         "fake/ja/kokoro/meta.csv": "path|original_file|language|transcript\n./fake/ja/kokoro/y.wav|-|ja|\"\n"}),
    "wavefake": Tree(
        ("generated_audio/ljspeech_melgan/LJ005-0073_gen.wav", "LJSpeech-1.1/wavs/LJ005-0073.wav",
         "generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0.wav",
         "jsut_ver1.1/basic5000/wav/BASIC5000_0001.wav"),
        {"wavefake": {"generated_audio/ljspeech_melgan/LJ005-0073_gen": "spoof ljspeech_melgan . .",
                      "generated_audio/common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech/gen_0":
                      "spoof common_voices_prompts_from_conformer_fastspeech2_pwg_ljspeech . .",
                      "LJSpeech-1.1/wavs/LJ005-0073": "bonafide . LJ en",
                      "jsut_ver1.1/basic5000/wav/BASIC5000_0001": "bonafide . JSUT ja"}}),
    "for_norm": Tree(
        ("for-norm/for-norm/training/real/file1.wav_16k.wav", "for-norm/for-norm/validation/fake/file2.wav_16k.wav",
         "for-norm/for-norm/testing/fake/file3.wav_16k.wav"),
        {"train": {"training/real/file1.wav_16k": "bonafide . . en"},
         "dev": {"validation/fake/file2.wav_16k": "spoof . . en"},
         "eval": {"testing/fake/file3.wav_16k": "spoof . . en"}}),
    "for_original": Tree(
        ("for-original/training/real/a.wav", "for-original/validation/fake/b.mp3", "for-original/testing/real/c.wav"),
        {"train": {"training/real/a": "bonafide . . en"}, "dev": {"validation/fake/b": "spoof . . en"},
         "eval": {"testing/real/c": "bonafide . . en"}}),
    "for_2sec": Tree(
        ("for-2seconds/training/real/a.wav", "for-2seconds/validation/fake/b.wav", "for-2seconds/testing/real/c.wav"),
        {"train": {"training/real/a": "bonafide . . en"}, "dev": {"validation/fake/b": "spoof . . en"},
         "eval": {"testing/real/c": "bonafide . . en"}}),
    "for_rerecorded": Tree(
        ("for-rerecorded/training/real/a.wav", "for-rerecorded/validation/fake/b.wav",
         "for-rerecorded/testing/real/c.wav"),
        {"train": {"training/real/a": "bonafide . . en"}, "dev": {"validation/fake/b": "spoof . . en"},
         "eval": {"testing/real/c": "bonafide . . en"}}),
    "librisevoc": Tree(
        ("LibriSeVoc/gt/8014_112602_000001_000001.wav", "LibriSeVoc/wavernn/87_121553_000211_000000_gen.wav"),
        {"librisevoc": {"gt/8014_112602_000001_000001": "bonafide - . en",
                        "wavernn/87_121553_000211_000000_gen": "spoof wavernn . en"}}),
    "codecfake_alm": Tree(
        ("Codecfake/train/SSB0005.wav", "Codecfake/train/F01_p225.wav", "Codecfake/test/C1/p227.wav",
         "Codecfake/test/A3/x.wav"),
        {"train": {"SSB0005": "bonafide . . .", "F01_p225": "spoof . . ."}, "codecfake_c1": {"p227": "spoof . . ."},
         "codecfake_a3": {"x": "bonafide . . ."}},
        {"Codecfake/label/train.txt": "SSB0005.wav real 0\nF01_p225.wav fake 1\n",
         "Codecfake/label/C1.txt": "p227.wav fake\n", "Codecfake/label/A3.txt": "x.wav real 0\n"}),
    "codecfake_wavs": Tree(
        ("genuine/p225_001.wav", "encodec_24khz/encodec_24khz/p225_001.wav"),
        {"codecfake_wavs": {"genuine/p225_001": "bonafide - . en",
                            "encodec_24khz/encodec_24khz/p225_001": "spoof encodec_24khz . en"}}),
    "sonar": Tree(
        ("SONAR_dataset/PromptTTS2/audio49.wav", "SONAR_dataset/seedtts_testset/zh/wavs/10002287-00000094.wav",
         "SONAR_dataset/real_samples/4507_16021_000028_000003.wav"),
        {"sonar": {"PromptTTS2/audio49": "spoof PromptTTS2 . .",
                   "seedtts_testset/zh/wavs/10002287-00000094": "spoof seedtts_testset . .",
                   "real_samples/4507_16021_000028_000003": "bonafide - . ."}}),
    "decro": Tree(
        tuple(f"petrichorwq-DECRO-dataset-6fc9884/{name}.wav" for name in (
            "ch_train/20033611", "ch_dev/1", "ch_eval/2", "en_train/103-534-127537-0043", "en_dev/3", "en_eval/4")),
        {"ch_train": {"20033611": "spoof baidu unknown zh"},
         "en_train": {"103-534-127537-0043": "bonafide - 103 en"}, "ch_dev": {"1": "spoof pwg 7 zh"},
         "ch_eval": {"2": "spoof pwg 7 zh"}, "en_dev": {"3": "spoof pwg 7 en"}, "en_eval": {"4": "spoof pwg 7 en"}},
        {"petrichorwq-DECRO-dataset-6fc9884/ch_train.txt": "unknown 20033611 - baidu spoof\n",
         "petrichorwq-DECRO-dataset-6fc9884/en_train.txt": "103 103-534-127537-0043 - - bonafide\n",
         **{f"petrichorwq-DECRO-dataset-6fc9884/{name}.txt": f"7 {key} - pwg spoof\n"
            for key, name in ((1, "ch_dev"), (2, "ch_eval"), (3, "en_dev"), (4, "en_eval"))}}),
    "odss": Tree(
        ("odss/natural/hifi-tts/92/a.wav", "odss/vits/vctk/p293/p293_168.wav"),
        {"odss": {"natural/hifi-tts/92/a": "bonafide - 92 .", "vits/vctk/p293/p293_168": "spoof vits p293 ."}}),
    "dfadd": Tree(
        ("DATASET_GradTTS/test/p227_164_GradTTS.wav", "DATASET_VCTK_BONAFIDE/train/p225_001.flac",
         "DATASET_PflowTTS/train/p345_251_pflow.wav", "DATASET_MatchaTTS/valid/p228_002_matcha.wav"),
        {"train": {"DATASET_VCTK_BONAFIDE/train/p225_001": "bonafide - p225 en",
                   "DATASET_PflowTTS/train/p345_251_pflow": "spoof PflowTTS p345 en"},
         "dev": {"DATASET_MatchaTTS/valid/p228_002_matcha": "spoof MatchaTTS p228 en"},
         "eval": {"DATASET_GradTTS/test/p227_164_GradTTS": "spoof GradTTS p227 en"}}),
    "cfad": Tree(
        tuple(f"CFAD/CFAD/{name}.wav" for name in (
            "clean_version/train_clean/fake_clean/gl/SSB07800001_gl", "clean_version/dev_clean/real_clean/thchs30/A2_0",
            "clean_version/test_seen_clean/real_clean/aishell1/BAC009S0764W0121",
            "clean_version/test_unseen_clean/fake_clean/partiallyfake/x",
            "codec_version/test_seen_codec/fake_codec/lpcnet/SSB09660003_lpcnet_m4a",
            "noisy_version/dev_noise/real_noise/magicread/y")),
        {"train": {"clean_version/train_clean/fake_clean/gl/SSB07800001_gl": "spoof gl . zh"},
         "dev": {"clean_version/dev_clean/real_clean/thchs30/A2_0": "bonafide - . zh"},
         "cfad_seen": {"clean_version/test_seen_clean/real_clean/aishell1/BAC009S0764W0121": "bonafide - . zh"},
         "cfad_unseen": {"clean_version/test_unseen_clean/fake_clean/partiallyfake/x": "spoof partiallyfake . zh"},
         "cfad_codec_seen": {"codec_version/test_seen_codec/fake_codec/lpcnet/SSB09660003_lpcnet_m4a":
                             "spoof lpcnet . zh"},
         "noisy_dev": {"noisy_version/dev_noise/real_noise/magicread/y": "bonafide - . zh"}}),
    "cd_add": Tree(
        tuple(f"{name}.wav" for name in (
            "dataset_LibriTTS/dataset_clean_v2/train-clean/19/198/19_198_000000_000000/valle",
            "dataset_LibriTTS/dataset_clean_v2/dev-clean/1673/143396/1673_143396_000015_000001/openvoice",
            "dataset_LibriTTS/dataset_clean_v2/test-clean/61/70968/61_70968_000000_000000/real",
            "dataset_TED-LIUM/dataset_ted/BillGates_2010/BillGates_2010_104/yourTTS")),
        {"train": {"dataset_LibriTTS/dataset_clean_v2/train-clean/19/198/19_198_000000_000000/valle":
                   "spoof valle 19 en"},
         "dev": {"dataset_LibriTTS/dataset_clean_v2/dev-clean/1673/143396/1673_143396_000015_000001/openvoice":
                 "spoof openvoice 1673 en"},
         "cd_add_test": {"dataset_LibriTTS/dataset_clean_v2/test-clean/61/70968/61_70968_000000_000000/real":
                         "bonafide - 61 en"},
         "cd_add_ted": {"dataset_TED-LIUM/dataset_ted/BillGates_2010/BillGates_2010_104/yourTTS":
                        "spoof yourTTS BillGates_2010 en"}}),
    "xmad": Tree(
        ("commonvoice-ro/real/a.wav", "commonvoice-ro/fake/a.wav", "commonvoice-ro/real/b.wav",
         "commonvoice-ro/fake/b.wav", "mailabs-de/real/c.wav", "mailabs-de/fake/c.wav", "voxpopuli/real/d.wav",
         "voxpopuli/fake/d.wav"),
        {"train": {"commonvoice-ro_real_a": "bonafide . s1 ro", "commonvoice-ro_fake_a": "spoof . s1 ro"},
         "dev": {"commonvoice-ro_real_b": "bonafide . s2 ro", "commonvoice-ro_fake_b": "spoof . s2 ro"},
         "xmad_cross": {"mailabs-de_real_c": "bonafide . s3 de", "mailabs-de_fake_c": "spoof . s3 de",
                        "voxpopuli_real_d": "bonafide . s4 .", "voxpopuli_fake_d": "spoof . s4 ."}},
        {"commonvoice-ro/meta.csv": "sample_name,is_fake,speaker_id,meta,split\na.wav,0,s1,-,train\n"
                                    "a.wav,1,s1,-,train\nb.wav,0,s2,-,val\nb.wav,1,s2,-,val\n",
         "mailabs-de/meta.csv": "sample_name,is_fake,speaker_id,meta,split\nc.wav,0,s3,-,test\nc.wav,1,s3,-,test\n",
         "voxpopuli/meta.csv": "sample_name,is_fake,speaker_id,meta,split\nd.wav,0,s4,-,test\nd.wav,1,s4,-,test\n"}),
    "diffuse_or_confuse": Tree(
        ("dataset_01/wavegrad2/LJ044-0144.wav", "dataset_02/tacotron2-DCA_wavegrad/LJ001-0001.wav"),
        {"diffuse_or_confuse": {"dataset_01/wavegrad2/LJ044-0144": "spoof wavegrad2 LJ en",
                                "dataset_02/tacotron2-DCA_wavegrad/LJ001-0001": "spoof tacotron2-DCA_wavegrad LJ en"}}),
    "diffssd": Tree(
        ("generated_speech/unit_speech/speaker_5448/sentence_181.wav", "real_speech/LJSpeech-1.1/wavs/LJ001-0001.wav",
         "real_speech/LibriSpeech/dev-clean/84/121123/84-121123-0000.flac"),
        {"train": {"generated_speech/unit_speech/speaker_5448/sentence_181": "spoof unit_speech . en"},
         "eval": {"real_speech/LibriSpeech/dev-clean/84/121123/84-121123-0000": "bonafide - . en"},
         "dev": {"real_speech/LJSpeech-1.1/wavs/LJ001-0001": "bonafide - . en"}},
        {"train_val_test_splits.csv": "filename,label,set\n"
         "generated_speech/unit_speech/speaker_5448/sentence_181.wav,1,train\n"
         "real_speech/ljspeech/LJ001-0001.wav,0,val\n"
         "real_speech/librispeech/dev-clean/84/121123/84-121123-0000.flac,0,test\n"}),
    "ctrsvdd": Tree(
        ("test_set/CtrSVDD_0001_E_0000001.flac", "test_set/CtrSVDD_0002_E_0000002.flac",
         "train_set/CtrSVDD_0053_T_0038470.flac", "dev_set/CtrSVDD_0097_D_0010993.flac"),
        {"ctrsvdd": {"CtrSVDD_0001_E_0000001": "spoof A09 CtrSVDD_0001 .",
                     "CtrSVDD_0002_E_0000002": "bonafide - CtrSVDD_0002 ."},
         "train": {"CtrSVDD_0053_T_0038470": "bonafide - CtrSVDD_0053 ."},
         "dev": {"CtrSVDD_0097_D_0010993": "spoof A06 CtrSVDD_0097 ."}},
        {"test.txt": "m4singer CtrSVDD_0001 CtrSVDD_0001_E_0000001 - A09 deepfake\n"
                     "kising CtrSVDD_0002 CtrSVDD_0002_E_0000002 - - bonafide\n",
         "train.txt": "opencpop CtrSVDD_0053 CtrSVDD_0053_T_0038470 - - bonafide\n",
         "dev.txt": "jvsmusic CtrSVDD_0097 CtrSVDD_0097_D_0010993 - A06 deepfake\n"}),
    "timit_tts": Tree(
        ("TIMIT-TTS/CLEAN/multi_speaker/vits/speaker_1/fadg0_sa1.wav",
         "TIMIT-TTS/DTW_AUG/single_speaker/mixertts_x/fadg0_sa2.wav"),
        {"timit_tts": {"CLEAN/multi_speaker/vits/speaker_1/fadg0_sa1": "spoof vits . en",
                       "DTW_AUG/single_speaker/mixertts_x/fadg0_sa2": "spoof mixertts_x . en"}}),
    "fakesound": Tree(
        ("FakeSound/audio_data/easy/a.wav", "FakeSound/audio_data/zeroshot/a.wav"),
        {"fakesound": {"audio_data/easy/a": "spoof . . .", "audio_data/zeroshot/a": "spoof . . ."}}),
    "vcapav": Tree(
        ("x/audioLDM1_audio_cut/a.wav", "VGGsound_test_14923_audio_cut/b.wav"),
        {"vcapav": {"x/audioLDM1_audio_cut/a": "spoof audioLDM1_audio_cut . .",
                    "VGGsound_test_14923_audio_cut/b": "bonafide - . ."}}),
    "emofake": Tree(
        ("EmoFake/English/train/wav/0012_Angry_000606.wav", "EmoFake/English/dev/wav/0012_Angry_000607.wav",
         "EmoFake/English/train/wav/S2_Neutral2Sad_0011_000141.wav", "EmoFake/Chinese/test/wav/S5_Sad_0001_000001.wav"),
        {"train": {"English/train/wav/0012_Angry_000606": "bonafide - . English",
                   "English/train/wav/S2_Neutral2Sad_0011_000141": "spoof S2 . English"},
         "dev": {"English/dev/wav/0012_Angry_000607": "bonafide - . English"},
         "eval": {"Chinese/test/wav/S5_Sad_0001_000001": "spoof S5 . Chinese"}}),
    "cvoicefake": Tree(
        ("CVoiceFake_Large/IT/Bonafide/a.mp3", "CVoiceFake_Large/IT/diffwave_generated/a.mp3"),
        {"cvoicefake": {"IT/Bonafide/a": "bonafide - . IT",
                        "IT/diffwave_generated/a": "spoof diffwave_generated . IT"}}),
    "deepvoice": Tree(
        ("KAGGLE/AUDIO/REAL/biden-original.wav", "KAGGLE/AUDIO/FAKE/biden-to-linus.wav"),
        {"deepvoice": {"AUDIO/REAL/biden-original": "bonafide . . en", "AUDIO/FAKE/biden-to-linus": "spoof . . en"}}),
    "deepfake_eval_2024": Tree(
        ("audio-data/1.mp3", "audio-data/2.wav"),
        {"deepfake_eval_2024": {"1": "bonafide . . .", "2": "spoof . . ."}},
        {"audio-metadata-publish.csv": "Filename,Other,Ground Truth,Finetuning Set\n1.mp3,,Real,train\n"
                                       "2.wav,,Fake,test\n3.wav,,Unknown,\n"}),
    "famous_figures": Tree(
        ("famousfigures/Donald_Trump/Bonafide/a.wav", "famousfigures/Donald_Trump/ElevenLabs/b.wav"),
        {"famous_figures": {"Donald_Trump/Bonafide/a": "bonafide - Donald_Trump .",
                            "Donald_Trump/ElevenLabs/b": "spoof ElevenLabs Donald_Trump ."}}),
    "llamapartialspoof": Tree(
        ("R01TTS.0.a/dev-clean_1462_170145_000020_000002.wav", "R01TTS.0.a/dev01-yourtts-partial-cf_8842_304647.wav",
         "R01TTS.0.b/dev01-jets-partial-cp_1272_128104.wav"),
        {"llama_crossfade": {"dev-clean_1462_170145_000020_000002": "bonafide . . .",
                             "dev01-yourtts-partial-cf_8842_304647": "spoof . . ."},
         "llama_pasted": {"dev01-jets-partial-cp_1272_128104": "spoof . . ."}},
        {"label_R01TTS.0.a.txt": "dev-clean_1462_170145_000020_000002 0.0100 bonafide 0.0000-0.0100-bonafide\n"
         "dev01-yourtts-partial-cf_8842_304647 0.0100 spoof 0.0000-0.0040-bonafide 0.0040-0.0100-spoof\n",
         "label_R01TTS.0.b.txt": "dev01-jets-partial-cp_1272_128104 0.0100 spoof 0.0000-0.0100-spoof\n"}),
    "partialedit": Tree(
        ("E1/p237/p237_321_edited_partial_16k.wav", "E2/p237/p237_321_edited_partial_16k.wav"),
        {"partialedit": {"E1/p237/p237_321_edited_partial_16k": "spoof E1 p237 .",
                         "E2/p237/p237_321_edited_partial_16k": "spoof E2 p237 ."}},
        {"PartialEdit_E1E2.csv": "E1/p237/p237_321_edited_partial_16k.wav,0.002,0.004,0.01\n"}),
    "had": Tree(
        ("HAD/HAD_train/conbine/HAD_train_fake_00000001.wav", "HAD/HAD_dev/conbine/HAD_dev_real_00000001.wav",
         "HAD/HAD_test/test/HAD_test_00000001.wav", "HAD/HAD_test/test/HAD_test_00000002.wav"),
        {"train": {"HAD_train_fake_00000001": "spoof . . ."}, "dev": {"HAD_dev_real_00000001": "bonafide . . ."},
         "had": {"HAD_test_00000001": "spoof . . .", "HAD_test_00000002": "bonafide . . ."}},
        {"HAD/HAD_train/HAD_train_label.txt": "HAD_train_fake_00000001 0.00-0.004-T/0.004-0.01-F 0\n",
         "HAD/HAD_dev/HAD_dev_label.txt": "HAD_dev_real_00000001 0.00-0.01-T 1\n",
         "HAD/HAD_test/HAD_test_label.txt": "HAD_test_00000001 0.00-0.004-T/0.004-0.01-F 0\n"
                                            "HAD_test_00000002 0.00-0.01-T 1\n"}),
    "asvspoof_laundered": Tree(
        ("ASVspoofLD/Reverberation/flac/RT_0_3_LA_E_2834763.flac",
         "ASVspoofLD/Filtering/flac/lpf_7000_LA_E_8877452.flac"),
        {"asvspoof_laundered": {"RT_0_3_LA_E_2834763": "spoof A11 LA_0039 .",
                                "lpf_7000_LA_E_8877452": "bonafide - LA_0014 ."}},
        {"ASVspoofLD/protocols/ASVspoofLauneredDatabase_Reverberation.txt":
         "LA_0039 RT_0_3_LA_E_2834763 A11 spoof Reverberation RT_0_3\n",
         "ASVspoofLD/protocols/ASVspoofLauneredDatabase_Filtering.txt":
         "LA_0014 lpf_7000_LA_E_8877452 - bonafide Filtering lpf_7000\n",
         "ASVspoofLD/protocols/ASVspoofLauneredDatabase_all_laundering_attacks_sampled.txt": "another\n"}),
    "st_codecfake": Tree(
        ("st-codecfake/train/SSB00050001.wav", "st-codecfake/train/F01_SSB00050001.wav", "st-codecfake/dev/a.wav",
         "st-codecfake/eval_id/b.wav", "st-codecfake/eval_ood/F07_c.wav", "st-codecfake/eval_ood/F11_c.wav"),
        {"train": {"SSB00050001": "bonafide - . .", "F01_SSB00050001": "spoof 1 . ."}, "dev": {"a": "spoof 6 . ."},
         "eval_id": {"b": "bonafide - . ."}, "eval_ood": {"F07_c": "spoof 7 . .", "F11_c": "spoof 11 . ."}},
        {"st-codecfake/label/train.txt": "SSB00050001.wav real 0\nF01_SSB00050001.wav fake 1\n",
         "st-codecfake/label/dev.txt": "a.wav fake 6\n", "st-codecfake/eval_id.txt": "b.wav real 0\n",
         "st-codecfake/label/eval_ood7.txt": "F07_c.wav fake 7\n",
         "st-codecfake/label/eval_ood8-11.txt": "F11_c.wav fake 11\n"}),
    "codecfake_plus": Tree(
        ("CodecFake+/all_data_16k/p260_075.wav", "CodecFake+/all_data_16k/p260_075_Encodec_24b24k.flac",
         "CodecFake+/all_data_16k/p226_261.wav", "CodecFake+/all_data_16k/p227_260_snac_24khz.wav",
         "CodecFake+/SLMdemos_16k/VIOLA/audios_entts_ref_14.wav",
         "CodecFake+/SLMdemos_16k/SINGLECODEC/p300_314_mic1-libritts_7150-2338.wav"),
        {"train": {"p260_075": "bonafide . p260 .", "p260_075_Encodec_24b24k": "spoof . p260 ."},
         "dev": {"p226_261": "bonafide . p226 ."}, "codecfake_plus_cors": {"p227_260_snac_24khz": "spoof . p227 ."},
         "codecfake_plus_cosg": {"VIOLA/audios_entts_ref_14": "bonafide - . .",
                                 "SINGLECODEC/p300_314_mic1-libritts_7150-2338": "spoof SINGLECODEC . ."}},
        {"CodecFake+/metadata/training/train_mult_learn.txt":
         "p260 p260_075 - REAL REAL REAL bonafide\np260 p260_075_Encodec_24b24k - Trad TIME MVQ spoof\n",
         "CodecFake+/metadata/training/dev_mult_learn.txt": "p226 p226_261 - REAL REAL REAL bonafide\n",
         "CodecFake+/metadata/evaluation/CoRS_ALL.txt": "p227 p227_260_snac_24khz - - spoofs\n",
         "CodecFake+/metadata/evaluation/CoSG_ALL.txt":
         "VIOLA audios_entts_ref_14 - bonafide\nSINGLECODEC p300_314_mic1-libritts_7150-2338 - - spoof\n"}),
    "shiftyspeech": Tree(
        ("Vocoders/hifigan/hifigan_aishell_flac/BAC009S0913W0472.flac",
         "Vocoders/vocos/vocos_jsut_flac/x/BASIC5000_1.wav"),
        {"shiftyspeech": {"Vocoders/hifigan/hifigan_aishell_flac/BAC009S0913W0472": "spoof hifigan . .",
                          "Vocoders/vocos/vocos_jsut_flac/x/BASIC5000_1": "spoof vocos . ."}}),
    "wildsvdd": Tree(
        tuple(f"WildSVDD/WildSVDD_Data_Sep2024_Processed/{name}.flac" for name in (
            "train/mixture/bonafide_Name_1", "train/vocals/deepfake_Name_2", "test_A/vocals/deepfake_A_1",
            "test_B/vocals/bonafide_Salibi_1")),
        {"train": {"train/mixture/bonafide_Name_1": "bonafide . . .", "train/vocals/deepfake_Name_2": "spoof . . ."},
         "wildsvdd_a": {"test_A/vocals/deepfake_A_1": "spoof . . ."},
         "wildsvdd_b": {"test_B/vocals/bonafide_Salibi_1": "bonafide . . ."}}),
    "libritts_vocoded": Tree(
        ("LibriTTS-Vocoded/hifigan/dev-clean/84/121123/84_121123_000007_000001.wav",
         "LibriTTS-Vocoded/hn_sinc_nsf/train-clean-360/2638/10172/2638_10172_000059_000002.wav"),
        {"train": {"hn_sinc_nsf/train-clean-360/2638/10172/2638_10172_000059_000002": "spoof hn_sinc_nsf 2638 en"},
         "dev": {"hifigan/dev-clean/84/121123/84_121123_000007_000001": "spoof hifigan 84 en"}}),
    "voxceleb2_vocoded": Tree(
        ("VoxCeleb2-Vocoded/hifigan/dev/aac/id04972/f9crVjbT1Eg/00255.wav",),
        {"train": {"hifigan/dev/aac/id04972/f9crVjbT1Eg/00255": "spoof hifigan id04972 ."}}),
    "libritts_r": Tree(
        ("LibriTTS_R/train-clean-100/103/1240/103_1240_000000_000001.wav",
         "LibriTTS_R/dev-clean/1462/170138/1462_170138_000006_000003.wav"),
        {"train": {"train-clean-100/103/1240/103_1240_000000_000001": "spoof miipher 103 en"},
         "dev": {"dev-clean/1462/170138/1462_170138_000006_000003": "spoof miipher 1462 en"}}),
    "fleurs_r": Tree(
        ("fleurs-r/data/af_za/audio/train/1.wav", "fleurs-r/data/am_et/audio/test/2.wav"),
        {"train": {"af_za/audio/train/1": "spoof miipher . af_za"},
         "eval": {"am_et/audio/test/2": "spoof miipher . am_et"}}),
    "scenefake": Tree(
        ("SceneFake/train/real/A_01.wav", "SceneFake/train/fake/A_0001_10_B.wav", "SceneFake/dev/real/B_0092_10_B.wav",
         "SceneFake/dev/fake/B_10000_20_C.wav", "SceneFake/eval/fake/C_1.wav", "SceneFake/eval/other/C_2.wav"),
        {"train": {"train/real/A_01": "bonafide . . en", "train/fake/A_0001_10_B": "spoof . . en"},
         "dev": {"dev/real/B_0092_10_B": "bonafide . . en", "dev/fake/B_10000_20_C": "spoof . . en"},
         "eval": {"eval/fake/C_1": "spoof . . en"}}),
    "speechfake": Tree(
        ("Real/LibriTTS/a.wav", "BD/CosyVoice_VC/Aishell3/b.wav", "BD/HiFiGAN/VCTK/c.wav", "Real/VCTK-Corpus/d.wav"),
        {"train": {"Real/LibriTTS/a": "bonafide - 84 en", "BD/CosyVoice_VC/Aishell3/b": "spoof CosyVoice_VC SSB05 zh"},
         "dev": {"BD/HiFiGAN/VCTK/c": "spoof HiFiGAN p225 en"}, "eval": {"Real/VCTK-Corpus/d": "bonafide - p226 en"}},
        {f"metadata/{name}_all.csv": f"file,label,generator,model,speaker,language\n{lines}" for name, lines in (
            ("experiments/baseline/train", "Real/LibriTTS/a.wav,bonafide,-,-,84,en\n"
                                           "BD/CosyVoice_VC/Aishell3/b.wav,spoof,VC,CosyVoice_VC,SSB05,zh\n"),
            ("experiments/baseline/dev", "BD/HiFiGAN/VCTK/c.wav,spoof,NV,HiFiGAN,p225,en\n"),
            ("metadata/experiments/baseline/test", "Real/VCTK-Corpus/d.wav,bonafide,-,-,p226,en\n"))}),
    "voicewukong": Tree(
        ("Alldataset/en/audio1.wav", "gaussadded15/en/audio1.wav", "Re-Alldataset/zh/audio7590.wav"),
        {"voicewukong_en": {"Alldataset/en/audio1": "bonafide - . en", "gaussadded15/en/audio1": "spoof StarGan . en"},
         "voicewukong_zh": {"Re-Alldataset/zh/audio7590": "spoof ChatTTS . zh"}},
        {"eval_list.txt": "Alldataset Alldataset/en/audio1.wav fix real bonafide\n"
                          "gaussadded15 gaussadded15/en/audio1.wav random StarGan spoof\n",
         "zh_eval_list.txt": "Re-Alldataset Re-Alldataset/zh/audio7590.wav fix ChatTTS spoof\n"}),
    "replaydf": Tree(
        ("wav/09252b6aeda2/spoof/bark/de/9d0b.wav", "wav/09252b6aeda2/benign/de/02f7.wav",
         "wav/0129dbe27753/benign/pl/02f7.wav", "aux/09252b6aeda2/RIR.wav"),
        {"replaydf": {"wav/09252b6aeda2/spoof/bark/de/9d0b": "spoof bark . de",
                      "wav/09252b6aeda2/benign/de/02f7": "bonafide - . de",
                      "wav/0129dbe27753/benign/pl/02f7": "bonafide - . pl"}},
        {"wav/09252b6aeda2/meta.csv": "original_file|recorded_file|label|language\n"}),
    "compspoof": Tree(
        ("CompSpoofV2/development/mixed_audio/48570_spoof_bonafide.wav",
         "CompSpoofV2/development/mixed_audio/124039_bonafide_spoof.wav",
         "CompSpoofV2/development/original_audio/a.wav", "CompSpoofV2/development/speech_sources/s.wav",
         "CompSpoofV2/eval/audio/ec68.mp3", "CompSpoofV2/eval/audio/1131.wav"),
        {"train": {"development/mixed_audio/48570_spoof_bonafide": "spoof XTTS . .",
                   "development/mixed_audio/124039_bonafide_spoof": "bonafide - . ."},
         "dev": {"development/original_audio/a": "bonafide - . ."},
         "eval": {"ec68": "spoof . . .", "1131": "bonafide . . ."}},
        {"CompSpoofV2/development/metadata/train.csv":
         "audio_path,label,split,speech_path,speech_generation_model\n"
         "development/mixed_audio/48570_spoof_bonafide.wav,spoof_bonafide,train,x,XTTS\n"
         "development/mixed_audio/124039_bonafide_spoof.wav,bonafide_spoof,train,x,-\n",
         "CompSpoofV2/development/metadata/val.csv":
         "audio_path,label,split,speech_path,speech_generation_model\ndevelopment/original_audio/a.wav,original,val,-,-\n",
         "CompSpoofV2/eval_label.csv": "audio_path,label\neval/audio/ec68.mp3,spoof_spoof\n"
                                       "eval/audio/1131.wav,bonafide_bonafide\n"}),
}
