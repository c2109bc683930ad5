@echo off
rem Starts the backend on Windows: ospulse-backend.exe if setup.bat has built it,
rem else from source. Stop it with Ctrl+C.
setlocal
cd /d "%~dp0"

if exist ospulse-backend.exe (
    .\ospulse-backend.exe %*
    goto ended
)

where go >nul 2>nul
if errorlevel 1 (
    echo There is no ospulse-backend.exe, and Go is not on PATH to run the source. Run setup.bat first.
    exit /b 1
)
echo No ospulse-backend.exe yet, running from source. setup.bat builds one.
set CGO_ENABLED=0
go run main.go %*

:ended
set code=%errorlevel%
if not "%code%"=="0" echo The backend ended with exit code %code%. The lines above say why.
exit /b %code%
