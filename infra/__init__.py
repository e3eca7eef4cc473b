"""The Pulumi program: what runs on Google Cloud. Read __main__.py first."""
