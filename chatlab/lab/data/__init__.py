"""What is taught: demonstrations, data sets in and out, quality, annotators, unseen prompts."""
