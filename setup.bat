@echo off
rem Gets everything ready on Windows: checks Go, makes .env, downloads the
rem modules and builds ospulse-backend.exe. Then: run.bat
setlocal
cd /d "%~dp0"

echo [1/4] Checking Go
where go >nul 2>nul
if errorlevel 1 (
    echo Go is not installed, or not on PATH. Get it from https://go.dev/dl/ and open a new window.
    exit /b 1
)
go version
if errorlevel 1 exit /b %errorlevel%

echo [2/4] Settings
if exist .env (
    echo .env is there already and stays as it is.
) else (
    copy /y .env.example .env >nul
    if errorlevel 1 (
        echo .env could not be made from .env.example.
        exit /b 1
    )
    echo .env was made from .env.example. Nothing in it has to be changed:
    echo the backend keeps its data in the folder data until DATABASE_URL names a PostgreSQL.
)

echo [3/4] Downloading modules
go mod download
if errorlevel 1 (
    echo The modules could not be downloaded.
    exit /b 1
)

echo [4/4] Building ospulse-backend.exe
set CGO_ENABLED=0
go build -trimpath -ldflags "-s -w" -o ospulse-backend.exe main.go
if errorlevel 1 (
    echo The build failed.
    exit /b 1
)

echo Ready. Start it with run.bat
exit /b 0
