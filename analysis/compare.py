"""Draw studies side by side: python -m analysis.compare DIR… --out FOLDER."""

from analysis.command import main_of

main = main_of("compare")

if __name__ == "__main__":
    raise SystemExit(main())
