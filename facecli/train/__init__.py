"""Training: data, losses, loop, evaluation, publishing. Imports the core; the core never imports it."""
