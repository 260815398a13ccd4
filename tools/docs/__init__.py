"""What the pages of the site are made of; `bash tools/docs.sh` builds them."""
