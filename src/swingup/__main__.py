from swingup.cli import main

main()
