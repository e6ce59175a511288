"""The texts that several claims cite."""

IOFFE = "Ioffe and Szegedy 2015, Batch Normalization"
D2L = "Dive into Deep Learning, Batch Normalization"
CAFFENET = "benchmark of CaffeNet128 on ImageNet"
NOTES = "lecture notes on Dive into Deep Learning's chapter"
BJORCK = "Bjorck, Gomes, Selman and Weinberger 2018, Understanding Batch Normalization"
SANTURKAR = "Santurkar, Tsipras, Ilyas and Madry 2018, How Does Batch Normalization Help"
WU_HE = "Wu and He 2018, Group Normalization"
WU_JOHNSON = "Wu and Johnson 2021, Rethinking Batch in BatchNorm"
HOFFER = "Hoffer, Hubara and Soudry 2017, Train Longer, Generalize Better"
SUMMERS = (
    "Summers and Dinneen 2020, Four Things Everyone Should Know to Improve Batch Normalization"
)
