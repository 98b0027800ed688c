"""The commands' work: amplify, evaluate, train and launch, each from its configuration to its files."""
