"""The texts that several claims cite."""

IOFFE = "Ioffe and Szegedy 2015, Batch Normalization"
D2L = "Dive into Deep Learning, Batch Normalization"
NOTES = "lecture notes on Dive into Deep Learning's chapter"
BJORCK = "Bjorck, Gomes, Selman and Weinberger 2018, Understanding Batch Normalization"
SANTURKAR = "Santurkar, Tsipras, Ilyas and Madry 2018, How Does Batch Normalization Help"
