"""What models read, checked at once and cut into batches: text, pairs, masks, images, speech, tensors."""
