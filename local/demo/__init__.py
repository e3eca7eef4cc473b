"""The whole pipeline on this machine, from the program that deploys it; on a screen, or broken."""
