"""Starts Streamlit with what the page imports already loaded.

Streamlit runs the page for the first time when somebody looks, who would wait 2.5 s of processor
time for Altair's and BigQuery's modules. Run: python serve.py [Streamlit's flags]
"""

import sys
from pathlib import Path

import altair  # noqa: F401
import google.cloud.bigquery  # noqa: F401
from streamlit.web import cli

if __name__ == "__main__":
    sys.argv = ["streamlit", "run", str(Path(__file__).with_name("app.py")), *sys.argv[1:]]
    sys.exit(cli.main())
