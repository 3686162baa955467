"""Generation that stops computing: prompts, the loop, the choice of the next token, verified drafts."""
