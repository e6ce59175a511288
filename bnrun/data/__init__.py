"""The images: found, fetched and verified, or generated; and batches of them."""
