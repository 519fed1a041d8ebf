"""The SAFA network, one file per stage of the paper (WACV 2024, arXiv 2310.17294)."""
